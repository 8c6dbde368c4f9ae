//! The sentences that say why a recipient gets an alert, and why now.

use super::format_time;
use crate::alert::{Alert, HoldPeriod, NotificationReason};
use crate::incident::Change;
use crate::reason::Reason;
use crate::vocabulary::Kind;

/// Returns why an alert is sent now, as a clause that follows "Sent now because".
#[must_use]
pub fn trigger_clause(alert: &Alert, why: &NotificationReason) -> String {
    let Some(HoldPeriod { since, reason, .. }) = &why.held else {
        let is_end_of_maintenance = alert.kind == Kind::Maintenance && alert.change == Change::Resolved;
        let clause = if is_end_of_maintenance { "the maintenance is over" } else { alert.change.as_clause() };
        return clause.to_owned();
    };
    let since = format_time(*since, &alert.zone);
    match reason {
        Reason::CoveredByMaintenance => "it is still open after the maintenance window".to_owned(),
        Reason::QuietHours => format!("it was held since {since} until quiet hours ended"),
        Reason::Throttled => format!("it was held since {since} because there were too many alerts at once"),
        _ => format!("it was held since {since} until its scheduled time"),
    }
}

/// Returns the sentence that says why this recipient gets this alert.
#[must_use]
pub fn subscription_sentence(alert: &Alert, why: &NotificationReason, channel_title: &str) -> String {
    let tenant = alert.tenant_title();
    match (why.role, alert.category) {
        (Some(role), Some(category)) => format!(
            "You get this because {tenant} sends {} alerts by {channel_title} to the role {}.",
            category.title(),
            role.title()
        ),
        _ => format!("You get this because you opted in to user-level warnings of {tenant} by {channel_title}."),
    }
}
