//! What a tenant can choose from: its plan, the role matrix, components and regions; and the senders of its alerts.

use super::load_settings;
use crate::App;
use crate::access::{READ_SCOPES, json_response};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use contracts::http::{CatalogueView, PlanView, Senders};
use domain::policy::{Allowance, Matrix};
use domain::vocabulary::{Category, ChannelClass, Role};
use runtime::http::{Caller, Problem};
use std::collections::BTreeMap;

/// `GET /v1/tenants/{tenant}/catalogue`
pub(crate) async fn read(
    State(app): State<App>,
    caller: Caller,
    Path(path): Path<String>,
) -> Result<Response, Problem> {
    let tenant = caller.authorize_tenant(&path, READ_SCOPES)?;
    let settings = load_settings(&app, &tenant).await?;
    let plan = app.policy.plans.get(&settings.plan).map(|plan| PlanView {
        id: plan.id.clone(),
        name: plan.name.clone(),
        channels: plan.channels.iter().copied().collect(),
        recipients: plan.recipients,
        integrations: plan.integrations,
        digest: plan.digest,
        quiet_hours: plan.quiet_hours,
        footprint: plan.footprint,
    });
    let email_from = app.email_from.clone();
    let address = email_from.rsplit_once('<').map_or(email_from.as_str(), |(_, address)| address.trim_end_matches('>'));
    let senders = Senders {
        email_domain: address.rsplit_once('@').map(|(_, domain)| domain.to_owned()).unwrap_or_default(),
        sms_sender: settings.compliance.sender_id.clone().or_else(|| app.sms_sender.clone()),
        email_from,
    };
    let domain::policy::Catalogue { components, regions } = app.policy.catalogue.clone();
    let matrix = matrix_view(&app.policy.matrix);
    Ok(json_response(StatusCode::OK, &CatalogueView { plan, matrix, senders, components, regions }))
}

/// Returns the role matrix with an allowance for each role, category and channel; combinations that are not allowed are left out.
fn matrix_view(matrix: &Matrix) -> BTreeMap<Role, BTreeMap<Category, BTreeMap<ChannelClass, String>>> {
    let allowances = |role: Role, category: Category| -> BTreeMap<ChannelClass, String> {
        let allowance = |class: &ChannelClass| match matrix.allows(role, category, *class) {
            Allowance::Yes => Some("always"),
            Allowance::OptIn => Some("opt_in"),
            Allowance::LowBalanceOnly => Some("low_balance_only"),
            Allowance::No => None,
        };
        ChannelClass::ALL.iter().filter_map(|class| Some((*class, allowance(class)?.to_owned()))).collect()
    };
    let row = |role: &Role| {
        let categories = Category::ALL.iter().map(|category| (*category, allowances(*role, *category)));
        (*role, categories.filter(|(_, channels)| !channels.is_empty()).collect())
    };
    Role::ALL.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matrix_view_shows_each_allowance_and_leaves_out_what_is_not_allowed() {
        let matrix = matrix_view(&domain::policy::Policy::embedded().unwrap().matrix);
        assert_eq!(matrix[&Role::OrgAdmin][&Category::Configurable][&ChannelClass::Email], "opt_in");
        assert_eq!(matrix[&Role::BillingAdmin][&Category::Billing][&ChannelClass::Sms], "low_balance_only");
        assert!(!matrix[&Role::BillingAdmin].contains_key(&Category::Infrastructure));
    }
}
