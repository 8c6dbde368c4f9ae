//! `infra/policy/catalogue.yaml`: the names of components and regions.

use super::{CATALOGUE, PolicyError, parse_yaml};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// The components and regions that events, filters and the status page name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// The components, in the order of the status page.
    pub components: Vec<Component>,
    /// The regions in which the product runs.
    pub regions: Vec<Region>,
}

/// A part of the product.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Component {
    /// The id that events use.
    pub id: String,
    /// The name that people read.
    pub name: String,
    /// A description in a few words.
    pub description: String,
}

/// A place where the product runs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// The id that events use.
    pub id: String,
    /// The name that people read.
    pub name: String,
}

/// The embedded catalogue, for the names in messages. One that cannot be read names nothing, and messages then show the ids: a test reads it
/// before it is shipped, and an alert is worth more than a name.
static NAMES: LazyLock<Catalogue> = LazyLock::new(|| Catalogue::embedded().unwrap_or_default());

impl Catalogue {
    /// Returns the embedded catalogue for the names in messages.
    #[must_use]
    pub fn names() -> &'static Self {
        &NAMES
    }

    /// Loads the embedded `infra/policy/catalogue.yaml` alone, for the status page, which does not need the rest of the policy.
    ///
    /// # Errors
    /// [`PolicyError`] with the file and the problem.
    pub fn embedded() -> Result<Self, PolicyError> {
        Self::parse(CATALOGUE)
    }

    pub(super) fn parse(text: &str) -> Result<Self, PolicyError> {
        let catalogue: Self = parse_yaml("catalogue.yaml", text)?;
        let mut seen = BTreeSet::new();
        let ids = catalogue.components.iter().map(|one| &one.id).chain(catalogue.regions.iter().map(|one| &one.id));
        for id in ids {
            if !seen.insert(id.as_str()) {
                let problem = format!("the id `{id}` is used twice");
                return Err(PolicyError { file: "catalogue.yaml", problem });
            }
        }
        Ok(catalogue)
    }

    /// Whether the catalogue has a component with this id.
    #[must_use]
    pub fn has_component(&self, id: &str) -> bool {
        self.components.iter().any(|known| known.id == id)
    }

    /// Whether the catalogue has a region with this id.
    #[must_use]
    pub fn has_region(&self, id: &str) -> bool {
        self.regions.iter().any(|known| known.id == id)
    }

    /// Lists a warning for each of an event's components and regions that the catalogue does not have. Filters on names of the catalogue
    /// do not match them.
    #[must_use]
    pub fn unknown_name_warnings(&self, components: &[String], regions: &[String]) -> Vec<String> {
        let components = components.iter().filter(|name| !self.has_component(name)).map(|name| ("components", name));
        let regions = regions.iter().filter(|name| !self.has_region(name)).map(|name| ("regions", name));
        let warning =
            |(field, name)| format!("{field}: `{name}` is not in the catalogue, so filters on {field} don't match it");
        components.chain(regions).map(warning).collect()
    }

    /// Returns the name of a component; the id itself if the catalogue does not have it.
    #[must_use]
    pub fn component_name<'a>(&'a self, id: &'a str) -> &'a str {
        self.components.iter().find(|known| known.id == id).map_or(id, |known| &known.name)
    }

    /// Returns the name of a region; the id itself if the catalogue does not have it.
    #[must_use]
    pub fn region_name<'a>(&'a self, id: &'a str) -> &'a str {
        self.regions.iter().find(|known| known.id == id).map_or(id, |known| &known.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_missing_from_the_catalogue_gets_a_warning() {
        let catalogue = Catalogue::embedded().unwrap();
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let none = catalogue.unknown_name_warnings(&names(&["voice"]), &names(&["eu-central-1"]));
        assert!(none.is_empty(), "{none:?}");
        let warnings = catalogue.unknown_name_warnings(&names(&["voice", "vioce"]), &names(&["eu-west-99"]));
        assert!(warnings[0].contains("components: `vioce`") && warnings[1].contains("regions: `eu-west-99`"));
        assert_eq!(warnings.len(), 2);
    }
}
