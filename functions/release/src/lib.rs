//! Trigger  every minute, once for each of the eight due shards: `{"shard": n}`
//! Reads    due work; the incident, the update, the settings and the destination anew; for what was held, subscriptions and plans, and
//!          the hours of announced work
//! Writes   which run of the shard puts together what comes together; the end of what nobody can be reached with any more, with its
//!          reason; a later time for what must still wait; beside the plans, what so came otherwise than they say
//! Emits    deliveries, on the bulk lane of their channel; what came together in one message; for classify, reminders of announced work
//! Fails    what was not sent stays due and is tried again in the next minute
//! Config   [`config::Config`]
//!
//! Sent first, then taken off the index: a crash in between sends it twice, and the second one's claim is refused.

pub mod config;
mod decide;
#[cfg(test)]
mod world;

use aws::sqs::{Outgoing, Queues};
use config::Config;
use contracts::queue::{Delivery, Digest, IncidentReceived, row_name};
use decide::{Again, Decided, Facts, comes_together, decide_held, decide_unheld, delay_seconds, revised};
use domain::delivery::Refusal;
use domain::ids::{DUE_SHARDS, IncidentId, IntegrationId, RecipientId, Scope, TenantId};
use domain::incident::{Incident, Update};
use domain::maintenance::{Explained, Reminder, Window};
use domain::plan::Decision;
use domain::policy::Policy;
use domain::reason::Reason;
use domain::tenant::{Destination, Settings};
use domain::vocabulary::{Category, Channel, ChannelClass};
use futures::FutureExt;
use futures::stream::{self, StreamExt};
use jiff::Timestamp;
use runtime::queue::Deadline;
use runtime::{Aws, DirectError, EventFunction, StartError, clock, ids, metrics};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use store::deliveries::Slot;
use store::due::{Due, DueItem, Hold};
use store::plans::Known;
use store::subscriptions::Subscriber;
use store::{StoreError, Table};

/// Items of one page: ten full batches of a queue.
const PAGE: usize = 100;
/// The shard whose run looks after the reminders of announced work as well.
const REMINDING: u16 = 0;
/// Calls to the table in flight at once.
const IN_FLIGHT: usize = 16;
/// No page is begun with less time than this, which is more than a page takes.
const RESERVE: Duration = Duration::from_secs(5);

/// The function.
#[derive(Debug)]
pub struct Release {
    config: Config,
    policy: Policy,
    table: Table,
    queues: Queues,
}

/// What the schedule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Tick {
    /// The due shard, from 0.
    pub shard: u16,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Released {
    /// Put on a queue.
    pub released: usize,
    /// Ended unsent, with a reason.
    pub ended: usize,
    /// Seen and left for the next minute.
    pub left: usize,
    /// Seen and left to another run of the shard, which puts together what comes together.
    pub elsewhere: usize,
}

impl EventFunction for Release {
    const NAME: &'static str = env!("CARGO_PKG_NAME");
    type In = Tick;
    type Out = Released;

    async fn start(aws: &Aws) -> Result<Self, StartError> {
        let config = Config::from_env()?;
        let table = Table::new(aws.config(), &config.table_name, config.retention_days);
        let policy = Policy::embedded().map_err(StartError::new)?;
        Ok(Self { policy, table, queues: Queues::new(aws.config()), config })
    }

    async fn handle(&self, tick: Tick, deadline: Deadline) -> Result<Released, DirectError> {
        if tick.shard >= DUE_SHARDS {
            let message = format!("shard is {}; it must be from 0 to {}", tick.shard, DUE_SHARDS - 1);
            return Err(DirectError::new("BadRequest", message));
        }
        let mut total = Released::default();
        let mut after: Option<String> = None;
        let mut bundled = Bundled::new();
        let run = ids::suffix();
        // Whether this run puts together what comes together; not asked before there is something.
        let mut puts_together: Option<bool> = None;
        let began = clock::now();
        if tick.shard == REMINDING {
            total.left += self.remind(began).await;
        }
        while deadline.remaining() > RESERVE {
            let now = clock::now();
            let page = self.table.due(tick.shard, now, after.as_deref(), PAGE).await.map_err(unavailable)?;
            let (mut items, next) = whole_digests(page.items, page.next);
            match puts_together {
                // Read again: whoever had it may have handed out some of them since.
                None if items.iter().any(is_collected) => {
                    let claimed = self.claim(tick.shard, &run, deadline, now).await;
                    total.left += usize::from(claimed.is_err());
                    puts_together = Some(claimed.unwrap_or(false));
                    continue;
                }
                Some(false) => {
                    let all = items.len();
                    items.retain(|item| !is_collected(item));
                    total.elsewhere += all - items.len();
                }
                _ => {}
            }
            total.left += page.unreadable;
            // Boxed: the types of the streams within are deeper than the compiler computes layouts.
            let done = self.page(items, &mut bundled, (began, now)).boxed().await;
            total.released += done.released;
            total.ended += done.ended;
            total.left += done.left;
            after = next;
            if after.is_none() {
                break;
            }
        }
        if puts_together == Some(true)
            && let Err(error) = self.table.leave_shard(tick.shard, &run).await
        {
            tracing::warn!(shard = tick.shard, %error, "what comes together is claimed until this run would have ended");
        }
        metrics::count("DueReleased", count(total.released));
        metrics::count("DueEnded", count(total.ended));
        metrics::count("DueLeft", count(total.left));
        if after.is_some() {
            // The rest is older than a minute by the next run. Counted often, it says that eight shards are not enough.
            metrics::count("DueBehind", 1);
            tracing::warn!(shard = tick.shard, "the minute was too short for everything that is due");
        }
        Ok(total)
    }
}

impl Release {
    /// Claims what comes together in a shard for as long as this run can last: two runs at once would make two messages of one digest.
    async fn claim(&self, shard: u16, run: &str, deadline: Deadline, now: Timestamp) -> Result<bool, StoreError> {
        let until = now.saturating_add(deadline.until_end()).unwrap_or(Timestamp::MAX);
        let claimed = self.table.lease_shard(shard, run, now, until).await;
        match &claimed {
            Ok(true) => {}
            Ok(false) => tracing::info!(shard, "another run puts together what comes together"),
            Err(error) => tracing::error!(shard, %error, "what comes together stays: it cannot be claimed"),
        }
        claimed
    }

    /// Has classify remind of what is due. Gives back how many reminders stay for the next minute.
    async fn remind(&self, now: Timestamp) -> usize {
        let (due, unreadable) = match self.table.reminders(now, PAGE).await {
            Ok(found) => found,
            Err(error) => {
                // Whatever else is due must not wait for it; left over, it is counted and alarmed.
                tracing::error!(%error, "reminders cannot be read");
                return 1;
            }
        };
        let sent: Vec<bool> = stream::iter(due)
            .map(|one| self.send_reminder(one, now).boxed())
            .buffer_unordered(IN_FLIGHT)
            .collect()
            .await;
        unreadable + sent.iter().filter(|sent| !**sent).count()
    }

    async fn send_reminder(&self, reminder: Reminder, now: Timestamp) -> bool {
        let message = IncidentReceived::reminder(reminder.clone(), now);
        let Ok(body) = serde_json::to_string(&message) else { return false };
        let outgoing = Outgoing {
            body,
            group: Some(message.group()),
            dedup: Some(message.deduplication_id()),
            ..Outgoing::default()
        };
        if let Err(error) = self.queues.send(&self.config.classify_queue_url, &outgoing).await {
            tracing::error!(incident = %reminder.incident_id, %error, "a reminder stays for the next minute");
            return false;
        }
        if let Err(error) = self.table.reminder_done(&reminder).await {
            // It comes again, and is the same event.
            tracing::warn!(incident = %reminder.incident_id, %error, "a reminder that was sent stays");
        }
        true
    }

    /// `bundled` are the places of what comes together and has its message: what else stands there is counted in it. The times are when
    /// this run began, and now.
    async fn page(&self, items: Vec<DueItem>, bundled: &mut Bundled, (began, now): (Timestamp, Timestamp)) -> Released {
        let (collapsed, items): (Vec<_>, Vec<_>) = items.into_iter().partition(|item| is_counted(item, bundled));
        let facts = self.read(&items).boxed().await;
        let mut lanes: BTreeMap<ChannelClass, Vec<(Vec<DueItem>, Outgoing)>> = BTreeMap::new();
        let mut digests: BTreeMap<(String, bool), Vec<(DueItem, Delivery)>> = BTreeMap::new();
        let mut ends: Vec<(DueItem, Reason, Option<Decision>)> =
            collapsed.into_iter().map(|item| (item, Reason::StormCollapsed, None)).collect();
        let mut done = Released::default();
        let mut waits: Vec<(DueItem, Due, Option<Decision>)> = Vec::new();
        let decided: Vec<(DueItem, Option<Decided>, Option<Decision>)> = items
            .into_iter()
            .map(|item| {
                let decided = facts.decide(&item.due, &self.policy, (began, now));
                let known = facts.known(&item.due);
                let revised = decided.as_ref().and_then(|decided| revised(&item.due, decided, known, now));
                (item, decided, revised)
            })
            .collect();
        let unnoted = self.note_early(&decided, now).await;
        for (place, (item, decided, revised)) in decided.into_iter().enumerate() {
            if unnoted.contains(&place) {
                done.left += 1;
                continue;
            }
            match decided {
                Some(Decided::Wait(later, _)) => waits.push((item, *later, revised)),
                Some(Decided::Send(delivery)) if is_collected(&item) => {
                    digests.entry((item.group().to_owned(), is_storm(&item))).or_default().push((item, *delivery));
                }
                Some(Decided::Send(delivery)) => match serde_json::to_string(&delivery) {
                    Ok(body) => {
                        let outgoing = Outgoing {
                            body,
                            group: Some(item.due.incident_id.to_string()),
                            delay_seconds: delay_seconds(&item.due, now),
                            ..Outgoing::default()
                        };
                        lanes.entry(item.due.channel.class()).or_default().push((vec![item], outgoing));
                    }
                    Err(_) => done.left += 1,
                },
                Some(Decided::End(reason)) => ends.push((item, reason, revised)),
                None => done.left += 1,
            }
        }
        let mut places = Bundled::new();
        for (place, group) in digests {
            let (all, class) = (group.len(), group.first().map(|(item, _)| item.due.channel.class()));
            let Some(class) = class else { continue };
            match self.bundle(group, place.1, now).await {
                Some(message) => {
                    lanes.entry(class).or_default().push(message);
                    places.insert(place);
                }
                None => done.left += all,
            }
        }
        let waited: Vec<bool> = stream::iter(waits)
            .map(|(item, later, revised)| self.wait(item, later, revised, now).boxed())
            .buffer_unordered(IN_FLIGHT)
            .collect()
            .await;
        done.left += waited.iter().filter(|waits| !**waits).count();
        let sent: Vec<(usize, usize)> =
            stream::iter(lanes).map(|(class, lane)| self.send(class, lane).boxed()).buffer_unordered(4).collect().await;
        for (released, left) in sent {
            done.released += released;
            // What is not on its queue is made again in the next minute, with everything that waits by then.
            if left > 0 {
                places.clear();
            }
            done.left += left;
        }
        bundled.extend(places);
        let ended: Vec<bool> = stream::iter(ends)
            .map(|(item, reason, revised)| self.end(item, reason, revised, now).boxed())
            .buffer_unordered(IN_FLIGHT)
            .collect()
            .await;
        let ended_now = ended.iter().filter(|ended| **ended).count();
        done.ended += ended_now;
        done.left += ended.len() - ended_now;
        done
    }

    /// The one message of what comes together for one contact: as much as a message holds, and the number of what is left behind. What
    /// came at once and is alone is sent as it is. `None`: it stays for the next minute.
    async fn bundle(
        &self,
        group: Vec<(DueItem, Delivery)>,
        storm: bool,
        now: Timestamp,
    ) -> Option<(Vec<DueItem>, Outgoing)> {
        let (items, members): (Vec<DueItem>, Vec<Delivery>) = group.into_iter().unzip();
        let last = items.last()?;
        let before: u32 = items.iter().map(|item| item.due.more).max().unwrap_or(0);
        let reason = if storm { Reason::Throttled } else { Reason::Digest };
        let more = match self.table.behind(last, reason).await {
            Ok(more) => u32::try_from(more).unwrap_or(u32::MAX).saturating_add(before),
            Err(error) => {
                tracing::error!(%error, "what waits together cannot be counted");
                return None;
            }
        };
        let (destination, delay_seconds) = (last.due.destination.clone(), delay_of_all(&items, now));
        let body = match <[Delivery; 1]>::try_from(members) {
            Ok([alone]) if storm && more == 0 => serde_json::to_string(&alone).ok()?,
            Ok([first]) => serde_json::to_string(&Digest::new(vec![first], more, storm)).ok()?,
            Err(members) => serde_json::to_string(&Digest::new(members, more, storm)).ok()?,
        };
        Some((items, Outgoing { body, group: Some(destination), delay_seconds, ..Outgoing::default() }))
    }

    /// Sends one lane's messages and takes those that are on the queue off the index. Gives back how many went and stayed.
    async fn send(&self, class: ChannelClass, lane: Vec<(Vec<DueItem>, Outgoing)>) -> (usize, usize) {
        let (items, messages): (Vec<Vec<DueItem>>, Vec<Outgoing>) = lane.into_iter().unzip();
        let unsent: BTreeSet<usize> = match self.queues.send_all(self.config.queue(class), messages).await {
            Ok(()) => BTreeSet::new(),
            Err(unsent) => {
                tracing::error!(channel = class.as_str(), error = %unsent, "due work stays for the next minute");
                unsent.indices.into_iter().collect()
            }
        };
        let all: usize = items.iter().map(Vec::len).sum();
        let (stay, gone): (Vec<_>, Vec<_>) =
            items.into_iter().enumerate().partition(|(place, _)| unsent.contains(place));
        let left: usize = stay.iter().map(|(_, items)| items.len()).sum();
        let gone = gone.into_iter().flat_map(|(_, items)| items);
        // What cannot be taken off is sent again in a minute, and its claim is refused.
        stream::iter(gone).for_each_concurrent(IN_FLIGHT, |item| self.take_off(item)).await;
        (all - left, left)
    }

    /// Ends a delivery unsent. `false`: it stays due.
    async fn end(&self, item: DueItem, reason: Reason, revised: Option<Decision>, now: Timestamp) -> bool {
        let due = &item.due;
        let row = row_name(&due.destination, due.channel, due.update);
        let ended = self.table.end_unsent(slot(due, &row), &ids::suffix(), now, reason, revised.as_ref()).await;
        if matches!(ended, Ok(Ok(()))) {
            metrics::count_by("DeliveryGivenUp", "channel", due.channel.as_str(), 1);
            tracing::info!(
                incident = %due.incident_id,
                destination = due.destination,
                channel = due.channel.as_str(),
                reason = reason.as_str(),
                "due, but not sent"
            );
        }
        self.leave(item, ended).await
    }

    /// Notes the later time, then takes the earlier one off. `false`: it stays due.
    async fn wait(&self, item: DueItem, later: Due, revised: Option<Decision>, now: Timestamp) -> bool {
        let row = row_name(&later.destination, later.channel, later.update);
        let put = match (&revised, later.held) {
            // It has a row already: that it waits now stands there as well.
            (_, Some(hold)) if later.attempt > 1 || later.asked => {
                self.table.put_due_again(slot(&later, &row), &later, hold.reason, revised.as_ref(), now).await
            }
            (Some(revised), _) => self.table.put_due_revised(slot(&later, &row), &later, revised, now).await,
            (None, _) => self.table.put_due(&later).await.map(Ok),
        };
        // Within the same minute it is the same item, and comes again with the next run.
        if matches!(put, Ok(Ok(()))) && item.is_place_of(&later) {
            return true;
        }
        self.leave(item, put).await
    }

    /// Takes off what is done, or what somebody else has done. `false`: it stays due.
    async fn leave(&self, item: DueItem, done: Result<Result<(), Refusal>, StoreError>) -> bool {
        match done {
            // It is over, a newer update took its place, or this attempt was made after all.
            Ok(Ok(()) | Err(Refusal::Done | Refusal::Superseded { .. } | Refusal::AttemptOver { .. })) => {
                self.take_off(item).await;
                true
            }
            Ok(Err(Refusal::Leased { .. })) => false,
            Err(error) => {
                let due = &item.due;
                tracing::error!(incident = %due.incident_id, destination = due.destination, %error, "stays due");
                false
            }
        }
    }

    /// Notes what is sent before the time that its plan says: all that work explained, where it ends early. Gives back the places of what could
    /// not be noted, which stays due.
    async fn note_early(
        &self,
        decided: &[(DueItem, Option<Decided>, Option<Decision>)],
        now: Timestamp,
    ) -> BTreeSet<usize> {
        let early = decided.iter().enumerate().filter_map(|(place, (item, decided, revised))| {
            matches!(decided, Some(Decided::Send(_))).then_some((place, &item.due, revised.as_ref()?))
        });
        let mut noting = Vec::new();
        for (place, due, revised) in early {
            noting.push(
                async move {
                    let noted = self.table.revise(&due.incident_id, &due.tenant, revised, now).await;
                    let log = |error: &StoreError| {
                        tracing::error!(incident = %due.incident_id, %error, "cannot be noted as sent early");
                    };
                    noted.inspect_err(log).is_err().then_some(place)
                }
                .boxed(),
            );
        }
        stream::iter(noting).buffer_unordered(IN_FLIGHT).filter_map(|place| async move { place }).collect().await
    }

    async fn take_off(&self, item: DueItem) {
        if let Err(error) = self.table.due_done(&item).await {
            tracing::warn!(incident = %item.due.incident_id, %error, "stays on the index and comes once more");
        }
    }

    /// Reads everything that a page's items are about, each thing once.
    async fn read(&self, items: &[DueItem]) -> Read {
        let mut wanted = Wanted::default();
        for DueItem { due, .. } in items {
            wanted.tenants.insert(due.tenant.clone());
            wanted.incidents.insert(due.incident_id.clone());
            wanted.updates.insert((due.incident_id.clone(), due.update));
            wanted.destinations.insert((due.tenant.clone(), due.destination.clone()));
            if due.held.is_some() || due.channel != Channel::Webhook {
                wanted.planned.insert((due.incident_id.clone(), due.tenant.clone()));
            }
            if let Some(hold) = due.held {
                wanted.held.insert((due.incident_id.clone(), due.tenant.clone()));
                if hold.reason == Reason::CoveredByMaintenance {
                    wanted.covered.insert(due.tenant.clone());
                }
            }
        }
        let incidents = gather(wanted.incidents, |id| async { self.table.incident(&id).await.map(|f| (id, f)) }).await;
        let subscribed: BTreeSet<(TenantId, Category)> = wanted
            .held
            .iter()
            .filter_map(|(id, tenant)| Some((tenant.clone(), subscription(incidents.get(id)?.as_ref()?))))
            .collect();
        let works = incidents.values().flatten().filter(|incident| incident.maintenance.is_some());
        let works = works.map(|incident| incident.id.clone()).collect();
        // One after the other: each is as wide as the table should be asked at once.
        Read {
            settings: gather(wanted.tenants, |tenant| async {
                self.table.settings(&tenant).await.map(|f| (tenant, f))
            })
            .await,
            explained: gather(works, |id| async { self.table.explained_by(&id).await.map(|found| (id, found)) }).await,
            incidents,
            subscribers: gather(subscribed, |(tenant, category)| async move {
                self.table.subscriber(&tenant, category).await.map(|found| ((tenant, category), found))
            })
            .await,
            windows: gather(wanted.covered, |tenant| async move {
                self.table.windows(&Scope::Tenant(tenant.clone())).await.map(|found| (tenant, found))
            })
            .await,
            plans: gather(wanted.planned, |(id, tenant)| async move {
                self.table.plans_of(&id, &tenant).await.map(|known| ((id, tenant), known))
            })
            .await,
            updates: gather(wanted.updates, |(id, number)| async move {
                self.table.update(&id, number).await.map(|found| ((id, number), found))
            })
            .await,
            destinations: gather(wanted.destinations, |(tenant, name)| async {
                self.destination(&tenant, &name).await.map(|found| ((tenant, name), found))
            })
            .await,
        }
    }

    async fn destination(&self, tenant: &TenantId, name: &str) -> Result<Option<Destination>, StoreError> {
        if let Some(id) = RecipientId::parse(name) {
            let found = self.table.recipient(tenant, &id).await?;
            return Ok(found.map(|recipient| Destination::Recipient(Box::new(recipient))));
        }
        let Some(id) = IntegrationId::parse(name) else { return Ok(None) };
        let found = self.table.integration(tenant, &id).await?;
        Ok(found.map(|integration| Destination::Integration(Box::new(integration))))
    }
}

fn slot<'a>(due: &'a Due, row: &'a str) -> Slot<'a> {
    let Due { incident_id: incident, tenant, channel, update, attempt, .. } = due;
    Slot { incident, tenant, row, channel: *channel, update: *update, attempt: *attempt }
}

/// The incident, where announced work explained it with the hours that the work has by now: it may have ended before its time.
fn standing(incident: &Incident, hold: Hold, windows: &[Window]) -> Incident {
    let cover = incident.covered.as_ref().filter(|_| hold.reason == Reason::CoveredByMaintenance);
    let covered = cover.map(|cover| cover.as_it_stands(windows)).or_else(|| incident.covered.clone());
    Incident { covered, ..incident.clone() }
}

/// Whether something waited to come together with others.
fn is_collected(item: &DueItem) -> bool {
    item.due.held.is_some_and(comes_together)
}

/// Whether it waited because it was too much at once.
fn is_storm(item: &DueItem) -> bool {
    item.due.held.is_some_and(|hold| hold.reason == Reason::Throttled)
}

/// The places of what has its message, each with whether it came at once or is a digest.
type Bundled = BTreeSet<(String, bool)>;

/// Whether it is only counted, in the message of its place, which is full. A digest names ten of whatever is in it.
fn is_counted(item: &DueItem, bundled: &Bundled) -> bool {
    let named = is_storm(item) && item.due.held.is_some_and(|hold| hold.named);
    is_collected(item) && !named && bundled.contains(&(item.group().to_owned(), is_storm(item)))
}

/// How long a queue is to hold what comes together, in seconds: the minute is one, and nothing in it comes before its time.
fn delay_of_all(items: &[DueItem], now: Timestamp) -> u16 {
    items.iter().map(|item| delay_seconds(&item.due, now)).max().unwrap_or(0)
}

/// A page without the beginning of a digest that goes on in the next one: that page then begins with it, so that one digest does
/// not become two. A page that is one digest, and no end of it, is as large as a digest may be.
fn whole_digests(mut items: Vec<DueItem>, next: Option<String>) -> (Vec<DueItem>, Option<String>) {
    let Some(last) = items.last().filter(|_| next.is_some()) else { return (items, next) };
    let mut of_last = items.iter().filter(|item| item.group() == last.group());
    if !of_last.any(is_collected) {
        return (items, next);
    }
    let begin = items.iter().position(|item| item.group() == last.group()).unwrap_or(0);
    match begin.checked_sub(1).and_then(|before| items.get(before)).map(|item| item.place().to_owned()) {
        Some(before) => {
            items.truncate(begin);
            (items, Some(before))
        }
        None => (items, next),
    }
}

#[derive(Default)]
struct Wanted {
    tenants: BTreeSet<TenantId>,
    incidents: BTreeSet<IncidentId>,
    updates: BTreeSet<(IncidentId, u32)>,
    destinations: BTreeSet<(TenantId, String)>,
    /// Whose settings are asked again.
    held: BTreeSet<(IncidentId, TenantId)>,
    /// What was decided of it; what a machine is sent again depends on nothing.
    planned: BTreeSet<(IncidentId, TenantId)>,
    /// Whose incidents announced work explained.
    covered: BTreeSet<TenantId>,
}

/// User-level warnings belong to no category; their subscribers are in every one, so one is as good as another.
fn subscription(incident: &Incident) -> Category {
    incident.category.unwrap_or(Category::Configurable)
}

/// What was read: a missing entry could not be read, an entry of `None` is not there.
struct Read {
    settings: BTreeMap<TenantId, Option<Settings>>,
    incidents: BTreeMap<IncidentId, Option<Incident>>,
    updates: BTreeMap<(IncidentId, u32), Option<Update>>,
    destinations: BTreeMap<(TenantId, String), Option<Destination>>,
    subscribers: BTreeMap<(TenantId, Category), Option<Subscriber>>,
    plans: BTreeMap<(IncidentId, TenantId), Known>,
    windows: BTreeMap<TenantId, Vec<Window>>,
    /// What announced work explained.
    explained: BTreeMap<IncidentId, Vec<Explained>>,
}

impl Read {
    /// What becomes of one item; `None` where something about it could not be read.
    fn decide(&self, due: &Due, policy: &Policy, (began, now): (Timestamp, Timestamp)) -> Option<Decided> {
        let facts = self.of(due)?;
        // What an admin sends again waits for the law only, and no setting is asked.
        let (Some(hold), Some(incident)) = (due.held.filter(|_| !due.asked), facts.incident) else {
            let (none, machine) = (Known::default(), due.channel == Channel::Webhook);
            let known = if machine { &none } else { self.known(due)? };
            return Some(decide_unheld(due, facts, known, policy, now));
        };
        let subscriber = self.subscribers.get(&(due.tenant.clone(), subscription(incident)))?.as_ref();
        let known = self.known(due)?;
        let windows = match hold.reason {
            Reason::CoveredByMaintenance => self.windows.get(&due.tenant)?.as_slice(),
            _ => &[],
        };
        let incident = standing(incident, hold, windows);
        let facts = Facts { incident: Some(&incident), ..facts };
        Some(decide_held(due, hold, facts, Again { subscriber, known, policy, began, now }))
    }

    /// The plans that something was decided by, if they were read.
    fn known(&self, due: &Due) -> Option<&Known> {
        self.plans.get(&(due.incident_id.clone(), due.tenant.clone()))
    }

    /// The facts about one item; `None` where one of them could not be read, so that nothing ends by a fault of ours.
    fn of(&self, due: &Due) -> Option<Facts<'_>> {
        let incident = self.incidents.get(&due.incident_id)?.as_ref();
        let explained: &[Explained] = match incident.and_then(|incident| incident.maintenance) {
            Some(_) => self.explained.get(&due.incident_id)?,
            None => &[],
        };
        Some(Facts {
            settings: self.settings.get(&due.tenant)?.as_ref(),
            incident,
            explained,
            update: self.updates.get(&(due.incident_id.clone(), due.update))?.as_ref(),
            destination: self.destinations.get(&(due.tenant.clone(), due.destination.clone()))?.as_ref(),
        })
    }
}

/// Reads many things side by side. What cannot be read is logged and missing.
async fn gather<K, V, F, Fut>(keys: BTreeSet<K>, read: F) -> BTreeMap<K, V>
where
    K: Ord,
    F: FnMut(K) -> Fut,
    Fut: Future<Output = Result<(K, V), StoreError>>,
{
    let read = stream::iter(keys).map(read).buffer_unordered(IN_FLIGHT);
    read.filter_map(|found| async move {
        found.inspect_err(|error| tracing::error!(%error, "due work stays: what it is about cannot be read")).ok()
    })
    .collect()
    .await
}

fn unavailable(error: StoreError) -> DirectError {
    DirectError::new("Unavailable", format!("the due index cannot be read: {error}"))
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(destinations: &[(&str, bool)]) -> Vec<DueItem> {
        let item = |(number, (destination, collected)): (usize, &(&str, bool))| {
            let hold = Hold { since: Timestamp::UNIX_EPOCH, reason: Reason::Digest, named: false };
            DueItem::at_place(
                Due {
                    at: Timestamp::UNIX_EPOCH,
                    tenant: TenantId::parse("acme").unwrap(),
                    destination: (*destination).to_owned(),
                    channel: domain::vocabulary::Channel::Email,
                    incident_id: IncidentId::new("a"),
                    update: 1,
                    attempt: 1,
                    plain: false,
                    role: None,
                    held: collected.then_some(hold),
                    waited: None,
                    more: 0,
                    gathered: false,
                    asked: false,
                },
                &format!("202611231200#acme#{destination}#email#inc_{number}#000001"),
            )
        };
        destinations.iter().enumerate().map(item).collect()
    }

    #[test]
    fn what_comes_together_comes_when_the_last_of_it_is_due() {
        let mut all = items(&[("rcp_a", true), ("rcp_a", true), ("rcp_a", true)]);
        all[1].due.at = Timestamp::from_second(34).unwrap();
        assert_eq!(delay_of_all(&all, Timestamp::UNIX_EPOCH), 34);
        assert_eq!(delay_of_all(&all, Timestamp::from_second(60).unwrap()), 0);
    }

    fn cut(destinations: &[(&str, bool)], more: bool) -> (usize, Option<String>) {
        let all = items(destinations);
        let next = more.then(|| all.last().unwrap().place().to_owned());
        let (items, next) = whole_digests(all, next);
        (items.len(), next)
    }

    #[test]
    fn a_digest_is_not_cut_where_a_page_ends() {
        let two = [("rcp_a", true), ("rcp_a", true), ("rcp_b", true), ("rcp_b", true)];
        assert_eq!(cut(&two, false), (4, None), "the last page is whole");
        let (taken, next) = cut(&two, true);
        assert_eq!((taken, next.unwrap().contains("rcp_a#email#inc_1#")), (2, true), "the second may go on");
        assert_eq!(cut(&[("rcp_a", true), ("rcp_b", false)], true).0, 2, "what is sent by itself is not");
        let mixed = [("rcp_a", true), ("rcp_b", true), ("rcp_b", false)];
        assert_eq!(cut(&mixed, true).0, 1, "whatever of its place the page ends with");
        assert_eq!(
            cut(&[("rcp_a", true), ("rcp_a", true)], true).0,
            2,
            "one that fills a page is as large as it may be"
        );
    }
}
