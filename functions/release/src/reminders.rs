//! Sends the due reminders of scheduled maintenance to `classify`.

use crate::{IN_FLIGHT, PAGE_SIZE, ReleaseFunction};
use aws::sqs::OutgoingMessage;
use contracts::queue::IncidentReceived;
use domain::maintenance::Reminder;
use futures::FutureExt;
use futures::stream::{self, StreamExt};
use jiff::Timestamp;

impl ReleaseFunction {
    /// Sends the due reminders. Returns how many stay for the next minute's run.
    pub(crate) async fn send_due_reminders(&self, now: Timestamp) -> usize {
        let (due, unreadable) = match self.table.due_reminders(now, PAGE_SIZE).await {
            Ok(found) => found,
            Err(error) => {
                // The other due entries must not wait for it. Counted as left over, it raises the alarm.
                tracing::error!(%error, "cannot read the due reminders; the next run tries again");
                return 1;
            }
        };
        let sent: Vec<bool> = stream::iter(due)
            .map(|reminder| self.send_reminder(reminder, now).boxed())
            .buffer_unordered(IN_FLIGHT)
            .collect()
            .await;
        unreadable + sent.iter().filter(|sent| !**sent).count()
    }

    /// Sends one reminder, then deletes it. Returns whether it was sent.
    async fn send_reminder(&self, reminder: Reminder, now: Timestamp) -> bool {
        let message = IncidentReceived::reminder(reminder.clone(), now);
        let Ok(body) = serde_json::to_string(&message) else { return false };
        let outgoing = OutgoingMessage {
            body,
            group: Some(message.message_group_id()),
            dedup: Some(message.deduplication_id()),
            ..OutgoingMessage::default()
        };
        if let Err(error) = self.queues.send(&self.config.classify_queue_url, &outgoing).await {
            tracing::error!(incident = %reminder.incident_id, %error, "cannot send a reminder; the next run tries again");
            return false;
        }
        if let Err(error) = self.table.delete_reminder(&reminder).await {
            // The next run sends it again, with the same event id.
            tracing::warn!(incident = %reminder.incident_id, %error, "cannot delete a reminder that was sent");
        }
        true
    }
}
