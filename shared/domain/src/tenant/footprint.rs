//! A tenant's footprint: which components and regions of the platform it uses.

use crate::ids::Scope;
use crate::incident::Incident;
use crate::policy::Catalogue;
use serde::{Deserialize, Serialize};

/// Most names that a description of a footprint lists.
const NAMES_MAX: usize = 3;

/// The components and regions that a tenant uses. An empty list means all of them. Names that the catalogue no longer has do not count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footprint {
    /// Ids of the components that the tenant uses, at most 50.
    #[serde(default)]
    pub components: Vec<String>,
    /// Ids of the regions that the tenant uses, at most 50.
    #[serde(default)]
    pub regions: Vec<String>,
}

impl Footprint {
    /// Whether the tenant named nothing, and so uses everything.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.components.is_empty() && self.regions.is_empty()
    }

    /// Whether what is affected touches the footprint.
    ///
    /// What names no component may affect any, and so with regions. A name that the catalogue does not have may be misspelled, and so may
    /// affect any as well: an alert too many is better than one that is missing.
    #[must_use]
    pub fn is_touched_by(&self, catalogue: &Catalogue, components: &[String], regions: &[String]) -> bool {
        let touches = |affected: &[String], uses: &dyn Fn(&str) -> bool| {
            affected.is_empty() || affected.iter().any(|name| uses(name))
        };
        touches(components, &|name| self.uses_component(catalogue, name))
            && touches(regions, &|name| self.uses_region(catalogue, name))
    }

    /// Whether an incident concerns the tenant as it is now: its own does, and a platform-wide one that touches the footprint.
    #[must_use]
    pub fn is_concerned_by(&self, catalogue: &Catalogue, incident: &Incident) -> bool {
        incident.scope != Scope::Platform || self.is_touched_by(catalogue, &incident.components, &incident.regions)
    }

    /// Whether the tenant uses a component, or may use it.
    #[must_use]
    pub fn uses_component(&self, catalogue: &Catalogue, name: &str) -> bool {
        may_use(&self.components, name, |name| catalogue.has_component(name))
    }

    /// Whether the tenant uses a region, or may use it.
    #[must_use]
    pub fn uses_region(&self, catalogue: &Catalogue, name: &str) -> bool {
        may_use(&self.regions, name, |name| catalogue.has_region(name))
    }

    /// Returns what the tenant uses, in the catalogue's words, such as `Virginia`: the regions if those are why it is not affected, the
    /// components otherwise.
    #[must_use]
    pub fn describe(&self, catalogue: &Catalogue, regions_affected: &[String]) -> String {
        let other_regions =
            !regions_affected.is_empty() && !regions_affected.iter().any(|name| self.uses_region(catalogue, name));
        let names: Vec<&str> = if other_regions {
            self.regions.iter().map(|id| catalogue.region_name(id)).collect()
        } else {
            self.components.iter().map(|id| catalogue.component_name(id)).collect()
        };
        match names.split_at_checked(NAMES_MAX) {
            Some((first, more)) if !more.is_empty() => format!("{} and {} more", first.join(", "), more.len()),
            _ => names.join(", "),
        }
    }
}

fn may_use(used: &[String], name: &str, is_known: impl Fn(&str) -> bool) -> bool {
    let names_nothing = !used.iter().any(|one| is_known(one));
    names_nothing || !is_known(name) || used.iter().any(|one| one == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn an_incident_touches_a_footprint_by_both_components_and_regions() {
        let catalogue = Catalogue::embedded().unwrap();
        let used = Footprint { components: names(&["voice"]), regions: names(&["us-east-1"]) };
        let touched =
            |components: &[&str], regions: &[&str]| used.is_touched_by(&catalogue, &names(components), &names(regions));
        assert!(touched(&[], &[]) && touched(&["voice"], &[]) && touched(&[], &["us-east-1"]));
        assert!(touched(&["api", "voice"], &["eu-central-1", "us-east-1"]));
        assert!(!touched(&["voice"], &["eu-central-1"]) && !touched(&["api"], &["us-east-1"]));
        assert!(Footprint::default().is_touched_by(&catalogue, &names(&["api"]), &names(&["eu-central-1"])));
    }

    #[test]
    fn a_name_that_the_catalogue_does_not_have_excludes_nobody() {
        let catalogue = Catalogue::embedded().unwrap();
        let used = Footprint { regions: names(&["us-east-1"]), ..Footprint::default() };
        assert!(used.is_touched_by(&catalogue, &[], &names(&["us-esat-1"])), "misspelled by the source");
        let outdated = Footprint { regions: names(&["us-west-9"]), ..Footprint::default() };
        assert!(outdated.is_touched_by(&catalogue, &[], &names(&["eu-central-1"])), "no longer in the catalogue");
    }

    #[test]
    fn a_description_names_what_keeps_the_incident_away() {
        let catalogue = Catalogue::embedded().unwrap();
        let used =
            Footprint { components: names(&["voice", "api", "billing", "network"]), regions: names(&["us-east-1"]) };
        assert_eq!(used.describe(&catalogue, &names(&["eu-central-1"])), "Virginia");
        assert_eq!(used.describe(&catalogue, &[]), "Voice calls, API, Billing and 1 more");
    }
}
