//! Turns what a story counts into metrics and log lines.

use pipeline::Counted;
use runtime::metrics;

/// Counts and logs.
pub(crate) fn record(counted: &Counted) {
    match counted {
        Counted::DuplicateSuppressed => metrics::count("DuplicateSuppressed", 1),
        // The one duplicate that cannot be ruled out.
        Counted::ClaimLost { row } => {
            metrics::count("ClaimLost", 1);
            tracing::warn!(row, "the claim was lost before the delivery was marked");
        }
        Counted::WindowMissed => metrics::count("WindowMissed", 1),
        Counted::Deferred { channel } => metrics::count_by("DeliveryThrottled", "channel", channel.as_str(), 1),
        Counted::PassedOn { channel } => metrics::count_by("SlowTenantPassedOn", "channel", channel.as_str(), 1),
        Counted::ProviderThrottled { channel } => {
            metrics::count_by("ProviderThrottled", "channel", channel.as_str(), 1);
        }
        Counted::QuotaExhausted { channel } => {
            metrics::count_by("ProviderQuotaExhausted", "channel", channel.as_str(), 1);
        }
        Counted::Delivered { channel, latency_ms, late } => {
            metrics::count_by("DeliveryDelivered", "channel", channel.as_str(), 1);
            if let Some(latency_ms) = latency_ms {
                metrics::observe_ms("AlertLatencyMs", *latency_ms);
            }
            if *late {
                metrics::count("DeliveryLate", 1);
            }
        }
        Counted::ListDelivered { storm } => {
            metrics::count(if *storm { "BundleDelivered" } else { "DigestDelivered" }, 1);
        }
        Counted::AttemptFailed { channel, destination, attempt, cause, test } => {
            let channel = channel.as_str();
            if !test {
                metrics::count_by("AttemptFailed", "channel", channel, 1);
            }
            tracing::info!(channel, destination, attempt, cause, "the attempt failed");
        }
        Counted::GivenUp { channel, destination, reason, test } => {
            let channel = channel.as_str();
            if !test {
                metrics::count_by("DeliveryGivenUp", "channel", channel, 1);
            }
            tracing::warn!(channel, destination, reason = reason.as_str(), "the delivery was given up");
        }
        // Of the other stories.
        Counted::Classified { .. }
        | Counted::EndedUnsent { .. }
        | Counted::Planned { .. }
        | Counted::StormHeld
        | Counted::TenantsSeparated { .. }
        | Counted::FeedbackReceived { .. }
        | Counted::FeedbackUnknown
        | Counted::ContactSuppressed { .. } => {}
        Counted::ConfirmationSent { channel } => metrics::count_by("ConfirmationSent", "channel", channel.as_str(), 1),
        Counted::ConfirmationRefused { channel, cause } => {
            metrics::count_by("ConfirmationRefused", "channel", channel.as_str(), 1);
            tracing::warn!(channel = channel.as_str(), cause, "the provider refused a confirmation request");
        }
    }
}
