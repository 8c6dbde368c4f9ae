//! Operator commands: direct invocations, allowed by IAM and without a token.

use crate::PreferencesApi;
use crate::check::settings;
use crate::check::token::BOOTSTRAP_TOKEN_NAME;
use contracts::http::TenantBody;
use contracts::http::scopes::ALL_SCOPES;
use domain::ids::{IntegrationId, RecipientId, TenantId, TokenId};
use domain::tenant::{
    CategorySettings, ComplianceConfirmed, Destination, Email, Filters, Recipient, Settings, compliance_wording,
};
use domain::vocabulary::{Category, ChannelClass, Role};
use runtime::{DirectError, clock, ids};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use store::StoreError;
use store::credentials::{TenantScope, TokenRecord, Wildcard, token_hash};
use store::tenants::{AuditRecord, SaveOutcome, TenantChange};

/// Issues a platform admin token and revokes the earlier tokens of this command. Creates the operators' tenant, with the operator as its
/// first recipient, unless they exist.
pub(crate) async fn issue_admin_token(app: &PreferencesApi) -> Result<Value, DirectError> {
    let email = Email::parse(&app.operator_email).map_err(|remedy| {
        DirectError::new("BadRequest", format!("the stack parameter OperatorEmail is not a valid address: {remedy}"))
    })?;
    let tenant = TenantId::operators();
    if app.table.settings(&tenant).await.map_err(storage_error)?.is_none() {
        let setting = TenantChange::Settings(Box::new(operators_settings(app)?));
        // An outdated version means that a concurrent run has just created the tenant.
        app.table
            .save(&tenant, &setting, &operator_audit("tenant.created", tenant.as_str()), &ids::id_suffix())
            .await
            .map_err(storage_error)?;
    }
    let recipients = app.table.recipients(&tenant).await.map_err(storage_error)?;
    let has_email =
        |recipient: &Recipient| recipient.email.as_ref().is_some_and(|known| known.identity() == email.identity());
    if !recipients.iter().any(has_email) {
        let operator = operator_recipient(email);
        let audit = operator_audit("recipient.created", operator.id.as_str());
        let setting = TenantChange::Destination(Destination::Recipient(Box::new(operator)));
        if app.table.save(&tenant, &setting, &audit, &ids::id_suffix()).await.map_err(storage_error)?
            == SaveOutcome::NoTenant
        {
            return Err(DirectError::new(
                "Unavailable",
                "the operators' tenant does not exist yet; run the command again",
            ));
        }
    }
    let earlier = app.table.tenant_tokens(&tenant).await.map_err(storage_error)?;
    let earlier: Vec<TokenRecord> = earlier.into_iter().filter(|token| token.name == BOOTSTRAP_TOKEN_NAME).collect();
    let token = ids::api_token();
    let record = TokenRecord {
        token_id: TokenId::new(&ids::id_suffix()),
        // The new token keeps the identity of the old one, as in every rotation, so that open incidents keep their source.
        integration_id: earlier
            .first()
            .map_or_else(|| IntegrationId::new(&ids::id_suffix()), |token| token.integration_id.clone()),
        name: BOOTSTRAP_TOKEN_NAME.to_owned(),
        scopes: ALL_SCOPES.iter().map(|scope| (*scope).to_owned()).collect(),
        tenants: TenantScope::All(Wildcard::Asterisk),
        defaults: json!({}),
        created_at: clock::now(),
        expires_at_time: None,
        revoked_at: None,
        owner: tenant.clone(),
        issued_by: None,
        hash: token_hash(&token),
    };
    let issued = operator_audit("token.issued", record.token_id.as_str());
    app.table.issue_token(&record, None, &issued, &ids::id_suffix()).await.map_err(storage_error)?;
    // Revoked only after the new token is stored: a failure in between leaves one token too many, never none.
    for old in earlier.iter().filter(|token| token.revoked_at.is_none()) {
        let revoked = operator_audit("token.revoked", old.token_id.as_str());
        app.table.revoke_token(&tenant, &old.token_id, &revoked, &ids::id_suffix()).await.map_err(storage_error)?;
    }
    tracing::info!(token_id = %record.token_id, revoked = earlier.len(), "bootstrap token issued");
    Ok(json!({
        "token": token,
        "token_id": record.token_id,
        "note": "This token is shown only once; keep it in your secret store. To replace it, run this command again. Earlier \
                 bootstrap tokens no longer work.",
    }))
}

/// Rebuilds a tenant's compiled subscriptions.
pub(crate) async fn recompile_subscriptions(app: &PreferencesApi, tenant: &str) -> Result<Value, DirectError> {
    let tenant = TenantId::parse(tenant).map_err(|error| DirectError::new("BadRequest", error.to_string()))?;
    match app.table.rebuild_subscriptions(&tenant).await.map_err(storage_error)? {
        Some(chunks) => Ok(json!({"tenant": tenant, "chunks": chunks})),
        None => Err(DirectError::new("NotFound", format!("there is no tenant {tenant}"))),
    }
}

/// Settings of the operators' tenant: the platform's own problems are e-mailed from the start, everything else is off.
fn operators_settings(app: &PreferencesApi) -> Result<Settings, DirectError> {
    let top = app.policy.plans.largest().ok_or_else(|| DirectError::new("Internal", "plans.yaml defines no plan"))?;
    let body = TenantBody { name: "Platform operators".to_owned(), plan: top.id.clone(), zone: "UTC".to_owned() };
    let mut settings = settings::new_settings(&TenantId::operators(), &body, &app.policy)
        .map_err(|_| DirectError::new("Internal", "the settings of the operators' tenant are not valid"))?;
    let channels = BTreeSet::from([ChannelClass::Email]);
    settings.categories.insert(
        Category::Infrastructure,
        CategorySettings { enabled: true, channels, muted_until: None, min_severity: None },
    );
    // The deployer chose this address for alarms, so it counts as confirmed.
    let confirmed = compliance_wording(ChannelClass::Email).map(|wording| ComplianceConfirmed {
        by: "operator".to_owned(),
        at: clock::now(),
        wording,
    });
    settings.compliance_confirmed.extend(confirmed.map(|confirmed| (ChannelClass::Email, confirmed)));
    Ok(settings)
}

fn operator_recipient(email: Email) -> Recipient {
    Recipient {
        id: RecipientId::new(&ids::id_suffix()),
        name: "Operator".to_owned(),
        email: Some(email),
        // The deployer set the address as a stack parameter, which counts as confirmed.
        email_confirmed: true,
        phone: None,
        phone_facts: None,
        phone_confirmed: false,
        roles: BTreeSet::from([Role::OrgAdmin]),
        filters: Filters::default(),
        user_id: None,
        opt_ins: BTreeSet::new(),
        unsubscribed: BTreeSet::new(),
        unsubscribed_warnings: false,
        dnd: false,
        sms_consent: false,
        sms_consent_record: None,
        zone: None,
        suppressed: None,
        sms_opted_out: None,
        digest: None,
        no_digest: false,
        quiet_hours: None,
        shared: false,
        created_at: clock::now(),
        version: 1,
    }
}

/// Builds the audit entry of a direct invocation.
pub(crate) fn operator_audit(what: &str, object: &str) -> AuditRecord {
    AuditRecord { at: clock::now(), who: "operator".to_owned(), what: what.to_owned(), object: object.to_owned() }
}

/// Logs that the table failed, and says to run the command again.
pub(crate) fn storage_error(error: StoreError) -> DirectError {
    tracing::error!(%error, "a table operation failed");
    DirectError::new("Unavailable", format!("{error}; run the command again"))
}
