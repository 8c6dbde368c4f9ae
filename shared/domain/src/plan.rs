//! Who is told on which channel, and why the others are not. One pure function decides; routing, explain and every dry run
//! use it, so that none of them can say what another does not do.

use crate::health::OWN_TYPES;
use crate::incident::{Change, Incident, NOTICES, UNDELIVERED, Update};
use crate::policy::{Allowance, Compliance, Policy};
use crate::quiet::OwnQuietHours;
use crate::reason::Reason;
use crate::tenant::{Destination, OptIn, Recipient, Settings, compliance_wording};
use crate::vocabulary::{Channel, Role, Severity, Storms};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};

/// What is to happen on one channel of one destination for one update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The update.
    pub update: u32,
    /// The recipient's or integration's id.
    pub destination: String,
    /// The channel.
    pub channel: Channel,
    /// What happens.
    #[serde(flatten)]
    pub outcome: Outcome,
}

impl Decision {
    /// Whether both decide on the same update for the same destination on the same channel.
    #[must_use]
    pub fn is_on_the_same(&self, other: &Self) -> bool {
        (self.update, self.channel, &self.destination) == (other.update, other.channel, &other.destination)
    }
}

/// Exactly one of: deliver now, hold until then, skip with a reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// Now.
    Deliver {
        /// The role that the matrix gives it to; `None` where an opt-in counts.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        role: Option<Role>,
    },
    /// Later.
    Hold {
        /// When it is due.
        until: Timestamp,
        /// Why it waits.
        reason: Reason,
        /// The role that the matrix gives it to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        role: Option<Role>,
    },
    /// Never.
    Skip {
        /// Why.
        reason: Reason,
        /// The other destination or update that the reason speaks of.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
}

/// Most ends of hours that a hold goes on to: two a day for more than a week, within which every day of the week comes.
const CLOCKS_MAX: usize = 17;

/// What the decisions of earlier updates mean for the next: was this destination told on this channel?
#[derive(Clone, Debug, Default)]
pub struct Told {
    by: BTreeSet<Whom>,
    /// Until when what they were to be told last is held.
    held: HashMap<Whom, (Timestamp, Reason)>,
    /// Who has something of it already, and not only waits for it.
    has: BTreeSet<Whom>,
    /// Whose last word was planned to come together with others.
    collected: BTreeSet<Whom>,
    planned: u32,
    stopped: BTreeSet<String>,
}

/// A destination and one of its channels.
type Whom = (String, Channel);

impl Told {
    /// Reads earlier decisions of one tenant on one incident, each with the time of its plan, as they stood at `now`. What was held
    /// was sent when its minute came, in which it is handed out, unless a newer update was planned before and took its place. `revised` has what became of some of
    /// them otherwise: a later time, an earlier one, or an end.
    #[must_use]
    pub fn from_plans<'a>(
        decisions: impl IntoIterator<Item = (Timestamp, &'a Decision)>,
        revised: &[Decision],
        now: Timestamp,
    ) -> Self {
        let mut decisions: Vec<_> = decisions.into_iter().collect();
        decisions.sort_by_key(|(_, decision)| decision.update);
        let revised: HashMap<(&str, Channel, u32), &Outcome> =
            revised.iter().map(|one| ((one.destination.as_str(), one.channel, one.update), &one.outcome)).collect();
        let mut told = Self::default();
        let mut waiting: HashMap<Whom, Timestamp> = HashMap::new();
        for (at, decision) in decisions {
            told.absorb(decision);
            if matches!(decision.outcome, Outcome::Skip { .. }) {
                continue;
            }
            let whom = (decision.destination.clone(), decision.channel);
            if waiting.get(&whom).is_some_and(|before| *before <= at) {
                told.has.insert(whom.clone());
            }
            let key = (decision.destination.as_str(), decision.channel, decision.update);
            match revised.get(&key).copied().unwrap_or(&decision.outcome) {
                Outcome::Hold { until, reason, .. } => {
                    told.held.insert(whom.clone(), (*until, *reason));
                    waiting.insert(whom, minute_of(*until));
                }
                Outcome::Deliver { .. } => {
                    told.held.remove(&whom);
                    waiting.insert(whom, at);
                }
                // It had taken the place of what waited before; a webhook's updates do not take each other's.
                Outcome::Skip { .. } if decision.channel != Channel::Webhook => told.forget(&whom, &mut waiting),
                Outcome::Skip { .. } if !waiting.contains_key(&whom) => told.forget(&whom, &mut waiting),
                Outcome::Skip { .. } => {}
            }
        }
        told.has.extend(waiting.into_iter().filter(|(_, until)| *until <= now).map(|(whom, _)| whom));
        told
    }

    /// The same, where these recipients want to hear no more of the incident.
    #[must_use]
    pub fn but_not(self, stopped: &BTreeSet<String>) -> Self {
        Self { stopped: stopped.clone(), ..self }
    }

    fn absorb(&mut self, decision: &Decision) {
        self.planned = self.planned.max(decision.update);
        let whom = (decision.destination.clone(), decision.channel);
        match &decision.outcome {
            Outcome::Hold { until, reason, .. } => {
                self.held.insert(whom.clone(), (*until, *reason));
                if *reason == Reason::Throttled {
                    self.collected.insert(whom.clone());
                } else {
                    self.collected.remove(&whom);
                }
            }
            Outcome::Deliver { .. } => {
                self.held.remove(&whom);
                self.collected.remove(&whom);
            }
            // Who was to get an update that a newer one superseded was to get the newer one.
            Outcome::Skip { reason: Reason::SupersededBy, .. } => {}
            Outcome::Skip { .. } => return,
        }
        self.by.insert(whom);
    }

    /// Nothing that was to come comes any more: told is who has something.
    fn forget(&mut self, whom: &Whom, waiting: &mut HashMap<Whom, Timestamp>) {
        waiting.remove(whom);
        self.held.remove(whom);
        self.collected.remove(whom);
        if !self.has.contains(whom) {
            self.by.remove(whom);
        }
    }

    /// The newest update that was planned for anybody of the tenant; 0 if none was.
    #[must_use]
    pub fn planned(&self) -> u32 {
        self.planned
    }

    fn contains(&self, destination: &str, channel: Channel) -> bool {
        self.by.contains(&(destination.to_owned(), channel))
    }

    /// Whether this destination was told on this channel, and does not only wait for it: then it is told of the end at any hour.
    #[must_use]
    pub fn has_heard(&self, destination: &str, channel: Channel) -> bool {
        self.contains(destination, channel) && self.waits(destination, channel).is_none()
    }

    /// Whether this destination was told on this channel, and nothing of it waited any more at that moment.
    #[must_use]
    pub fn has_all(&self, destination: &str, channel: Channel, at: Timestamp) -> bool {
        let waits = self.held.get(&(destination.to_owned(), channel)).is_some_and(|(until, _)| minute_of(*until) > at);
        self.has_heard(destination, channel) && !waits
    }

    /// Until when and why all that this destination was to be told on this channel still waits.
    fn waits(&self, destination: &str, channel: Channel) -> Option<(Timestamp, Reason)> {
        let whom = (destination.to_owned(), channel);
        self.held.get(&whom).filter(|_| !self.has.contains(&whom)).copied()
    }

    /// Whether what this destination was told last was planned to come together with others.
    fn was_collected(&self, destination: &str, channel: Channel) -> bool {
        self.collected.contains(&(destination.to_owned(), channel))
    }
}

/// The beginning of a moment's minute.
fn minute_of(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second().div_euclid(60) * 60).unwrap_or(at)
}

/// Everything a plan depends on.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The incident.
    pub incident: &'a Incident,
    /// Every update that this tenant has no plan of yet, ascending.
    pub updates: &'a [Update],
    /// The tenant's settings.
    pub settings: &'a Settings,
    /// All its destinations, in the order of their chunks.
    pub destinations: &'a [Destination],
    /// What earlier plans decided.
    pub told: &'a Told,
    /// The deployer's rules.
    pub policy: &'a Policy,
    /// Now.
    pub now: Timestamp,
    /// Why all this was held, where its time has come: it is not held for that again.
    pub due: Option<Reason>,
    /// Until when incidents of this tenant are collected, because too many opened at once.
    pub storm: Option<Timestamp>,
}

/// What would be decided on an incident that nobody was told of yet: what dry runs and the lint ask.
#[must_use]
pub fn afresh(
    (incident, update): (&Incident, &Update),
    settings: &Settings,
    destinations: &[Destination],
    policy: &Policy,
    now: Timestamp,
) -> Vec<Decision> {
    let (updates, told) = (std::slice::from_ref(update), &Told::default());
    plan(&Asked { incident, updates, settings, destinations, told, policy, now, due: None, storm: None })
}

/// The decisions: one for every update, destination and channel of it, in that order. A test alert for some only decides on
/// nobody else.
#[must_use]
pub fn plan(asked: &Asked<'_>) -> Vec<Decision> {
    let within = within_plan_limits(asked);
    let mut told = asked.told.clone();
    let mut decisions = Vec::new();
    for update in asked.updates {
        // Whoever was told before comes first, so that the resolve goes where the open went when two share an address.
        let mut taken: HashMap<(Channel, String), String> = HashMap::new();
        let mut round: Vec<(usize, Decision)> = Vec::new();
        let wanted = |destination: &Destination, channel| {
            asked.incident.test_of.as_ref().is_none_or(|test| test.takes(destination.id(), channel))
        };
        let pairs = || {
            let all = asked.destinations.iter().enumerate().flat_map(|(place, destination)| {
                destination.channels().iter().map(move |channel| (place, destination, *channel))
            });
            all.filter(|(_, destination, channel)| wanted(destination, *channel))
        };
        for told_first in [true, false] {
            for (place, destination, channel) in pairs() {
                let was_told = told.contains(destination.id(), channel);
                if was_told != told_first {
                    continue;
                }
                let case = Case {
                    update,
                    destination,
                    channel,
                    told: was_told,
                    waits: told.waits(destination.id(), channel),
                    limited: !within.contains(destination.id()),
                };
                let mut outcome = decide(asked, &case);
                if matches!(outcome, Outcome::Deliver { .. } | Outcome::Hold { .. })
                    && let Some(identity) = destination.identity(channel)
                {
                    match taken.get(&(channel, identity.clone())) {
                        Some(other) => {
                            outcome = Outcome::Skip { reason: Reason::SameDestinationAs, by: Some(other.clone()) };
                        }
                        None => {
                            taken.insert((channel, identity), destination.id().to_owned());
                        }
                    }
                }
                let decision =
                    Decision { update: update.number, destination: destination.id().to_owned(), channel, outcome };
                round.push((place, decision));
            }
        }
        round.iter().for_each(|(_, decision)| told.absorb(decision));
        round.sort_by(|(left, a), (right, b)| left.cmp(right).then(a.channel.cmp(&b.channel)));
        decisions.extend(round.into_iter().map(|(_, decision)| decision));
    }
    supersede(&mut decisions);
    decisions
}

/// The update before `one` that its webhook gets too.
#[must_use]
pub fn follows(one: &Decision, all: &[Decision]) -> Option<u32> {
    let before = |other: &&Decision| {
        one.channel == Channel::Webhook
            && (&other.destination, other.channel) == (&one.destination, one.channel)
            && other.update < one.update
            && !matches!(other.outcome, Outcome::Skip { .. })
    };
    all.iter().filter(before).map(|other| other.update).max()
}

/// For people a newer update supersedes an undelivered older one of the same plan; webhooks get every update.
fn supersede(decisions: &mut [Decision]) {
    let mut newest: HashMap<(String, Channel), u32> = HashMap::new();
    for decision in decisions.iter().filter(|decision| !matches!(decision.outcome, Outcome::Skip { .. })) {
        let entry = newest.entry((decision.destination.clone(), decision.channel)).or_default();
        *entry = (*entry).max(decision.update);
    }
    for decision in decisions.iter_mut().filter(|decision| decision.channel != Channel::Webhook) {
        let key = (decision.destination.clone(), decision.channel);
        if let (Some(&by), false) = (newest.get(&key), matches!(decision.outcome, Outcome::Skip { .. }))
            && by > decision.update
        {
            decision.outcome = Outcome::Skip { reason: Reason::SupersededBy, by: Some(by.to_string()) };
        }
    }
}

/// The ids of the destinations that the plan's numbers include: the first ones, in the order of their chunks.
fn within_plan_limits<'a>(asked: &Asked<'a>) -> BTreeSet<&'a str> {
    let Some(plan) = asked.policy.plans.get(&asked.settings.plan) else { return BTreeSet::new() };
    let (mut recipients, mut integrations) = (plan.recipients, plan.integrations);
    asked
        .destinations
        .iter()
        .filter(|destination| {
            let left = match destination {
                Destination::Recipient(_) => &mut recipients,
                Destination::Integration(_) => &mut integrations,
            };
            let inside = *left > 0;
            *left = left.saturating_sub(1);
            inside
        })
        .map(Destination::id)
        .collect()
}

/// One question: this update, this destination, this channel.
struct Case<'a> {
    update: &'a Update,
    destination: &'a Destination,
    channel: Channel,
    told: bool,
    /// Until when and why all that it was to be told still waits.
    waits: Option<(Timestamp, Reason)>,
    limited: bool,
}

fn decide(asked: &Asked<'_>, case: &Case<'_>) -> Outcome {
    let skip = |reason| Outcome::Skip { reason, by: None };
    if asked.told.stopped.contains(case.destination.id()) {
        // Its owner's own word, so not even the end is told.
        return skip(Reason::IncidentStopped);
    }
    let allowed = allowance(asked, case);
    let resolves = case.update.change == Change::Resolved;
    if resolves && case.told {
        // Whoever got "open" gets "resolved", whatever toggles, filters, roles and plan say by now; only what makes the
        // destination unreachable, or its owner's own no, still counts.
        let role = allowed.ok().flatten().or(case.destination.roles().first().copied());
        return match unreachable(asked.incident, asked.settings, case.destination, case.channel, asked.now) {
            Some(reason) => skip(reason),
            // Where the open still waits, both become one message; and what was switched off meanwhile was never told.
            None => match switched_off(asked, case).filter(|_| case.waits.is_some()) {
                Some(reason) => skip(reason),
                None => held_or(asked, case, role),
            },
        };
    }
    if let Some(reason) = switched_off(asked, case) {
        return skip(reason);
    }
    let role = match allowed {
        Ok(role) => role,
        Err(reason) => return skip(reason),
    };
    if let Some(reason) = unreachable(asked.incident, asked.settings, case.destination, case.channel, asked.now)
        .or_else(|| filtered(asked, case))
    {
        return skip(reason);
    }
    if resolves {
        return skip(Reason::OpenNotTold);
    }
    if case.channel == Channel::Sms && !matches!(case.update.change, Change::Opened | Change::SeverityRaised) {
        return skip(Reason::SmsNotForThisChange);
    }
    held_or(asked, case, role)
}

/// Now, or when it is time for this destination. A test alert waits for nothing.
fn held_or(asked: &Asked<'_>, case: &Case<'_>, role: Option<Role>) -> Outcome {
    if let Some(outcome) = covered(asked, case, role) {
        return outcome;
    }
    let (settings, policy, severity) = (asked.settings, asked.policy, case.update.severity);
    // What came together once is not collected again for another reason: the two would hold it in turn, for ever.
    let collected = matches!(asked.due, Some(Reason::Digest | Reason::Throttled));
    let digest = || digest_at(settings, case.destination, case.channel, severity, policy, asked.now);
    let held = match digest().filter(|_| !collected) {
        // What comes together disturbs nobody either.
        Some(at) => Some((settled(asked, case, at, true), Reason::Digest)),
        None => match stormy(asked, case).filter(|_| !collected) {
            Some(at) => Some((settled(asked, case, at, !is_end_of_told(case)), Reason::Throttled)),
            None => waiting(asked, case, asked.now, !is_end_of_told(case))
                .map(|(at, reason)| (settled(asked, case, at, !is_end_of_told(case)), reason)),
        },
    };
    match held {
        Some((until, reason)) if !asked.incident.test => Outcome::Hold { until, reason, role },
        _ => Outcome::Deliver { role },
    }
}

/// Whoever has the open is told of the end at any hour.
fn is_end_of_told(case: &Case<'_>) -> bool {
    case.told && case.waits.is_none() && case.update.change == Change::Resolved
}

/// Until when a clock forbids it at that moment, and which: quiet hours, where they count, or the law.
fn waiting(asked: &Asked<'_>, case: &Case<'_>, at: Timestamp, quiet: bool) -> Option<(Timestamp, Reason)> {
    let to = (asked.settings, case.destination, case.channel);
    closed_until(asked.incident, to, case.update.severity, asked.policy, at, quiet)
}

/// Until when a clock forbids anything of an incident there at that moment, and which: quiet hours, where they count, or the law.
#[must_use]
pub fn closed_until(
    incident: &Incident,
    (settings, destination, channel): (&Settings, &Destination, Channel),
    severity: Severity,
    policy: &Policy,
    at: Timestamp,
    quiet: bool,
) -> Option<(Timestamp, Reason)> {
    let quiet = || quiet_until(settings, destination, channel, severity, policy, at).filter(|_| quiet);
    let law = || regulated(incident, settings, destination, channel, &policy.compliance, at);
    let hours = quiet().map(|until| (until, Reason::QuietHours));
    hours.or_else(|| law().map(|until| (until, Reason::RegulatoryWindow)))
}

/// The first moment from `at` on that no clock forbids. Whether somebody was told is read off the plan, so the plan must not name a
/// moment at which it only goes on waiting. Where hours exclude each other, it is a week and more.
fn settled(asked: &Asked<'_>, case: &Case<'_>, at: Timestamp, quiet: bool) -> Timestamp {
    let next = |at: &Timestamp| waiting(asked, case, *at, quiet).map(|(until, _)| until);
    std::iter::successors(Some(at), next).take(CLOCKS_MAX).last().unwrap_or(at)
}

/// Until when the law of the number's country forbids this SMS; where the number does not tell its country, of the tenant's. What Tocsin
/// itself has to say to its admins announces nothing: that an alert did not come cannot wait for the morning.
fn regulated(
    incident: &Incident,
    settings: &Settings,
    destination: &Destination,
    channel: Channel,
    compliance: &Compliance,
    at: Timestamp,
) -> Option<Timestamp> {
    let kind = incident.kind;
    if is_own(incident) {
        return None;
    }
    // Reading a number takes its time, and nearly nothing is limited.
    let Destination::Recipient(recipient) = destination else { return None };
    let phone = recipient.phone.as_ref().filter(|_| channel == Channel::Sms && compliance.limits(kind))?;
    let country = phone.country().or_else(|| settings.compliance.country.clone())?;
    compliance.country(&country)?.sms_hours.as_ref()?.closed_until(kind, at)
}

/// What announced work explains is told with it: it waits for the work's end, and ends unsent if it was over before. What is worse
/// than announced is told at once, and whoever was told hears everything. Machines wait for nothing: their messages say what explains it.
fn covered(asked: &Asked<'_>, case: &Case<'_>, role: Option<Role>) -> Option<Outcome> {
    if case.channel == Channel::Webhook {
        return None;
    }
    let cover = asked.incident.covered.as_ref().filter(|_| !case.told || case.waits.is_some())?;
    if asked.incident.resolved_at.is_some_and(|at| at <= cover.until) {
        return Some(Outcome::Skip { reason: Reason::CoveredByMaintenance, by: Some(cover.by.to_string()) });
    }
    let explained = case.update.severity <= cover.up_to && asked.now < cover.until;
    let until = || settled(asked, case, cover.until, true);
    explained.then(|| Outcome::Hold { until: until(), reason: Reason::CoveredByMaintenance, role })
}

/// Until when this comes together with others because it is too much: too many incidents of the tenant at once, a key that flaps, or
/// the next word on what came together. Never what is critical, and never for machines.
fn stormy(asked: &Asked<'_>, case: &Case<'_>) -> Option<Timestamp> {
    let (destination, storms) = (case.destination.id(), &asked.policy.storms);
    if asked.settings.storms == Storms::Each
        || case.channel == Channel::Webhook
        || case.update.severity == Severity::Critical
    {
        return None;
    }
    // What only one contact could not take is asked for itself: every end goes at once, if it can.
    let collected = asked.told.was_collected(destination, case.channel);
    let waiting = case.waits.filter(|(until, reason)| *reason == Reason::Throttled && asked.now < *until && collected);
    let waiting = waiting.map(|(until, _)| until);
    let flaps = asked.incident.openings.and_then(|openings| openings.held_until(&storms.flapping));
    let flaps = flaps.filter(|until| asked.now < *until && !case.told);
    let storm = asked.storm.filter(|_| !case.told);
    // A thousand ends of what was one message are one message.
    let ends = is_end_of_told(case) && collected;
    let ends = ends.then(|| storms.ceiling.window(asked.now).1);
    waiting.or(flaps.max(storm)).or(ends)
}

/// When the digest comes that an alert of `severity` is collected for; `None` where it is not. Only people have one.
#[must_use]
pub fn digest_at(
    settings: &Settings,
    destination: &Destination,
    channel: Channel,
    severity: Severity,
    policy: &Policy,
    now: Timestamp,
) -> Option<Timestamp> {
    let Destination::Recipient(recipient) = destination else { return None };
    let digest = recipient.digest.as_ref().filter(|digest| digest.channels.contains(&channel.class()))?;
    let collected = severity < digest.below && policy.plans.get(&settings.plan)?.digest;
    collected.then(|| digest.next(recipient.zone.as_deref().unwrap_or(&settings.zone), now))
}

/// Until when quiet hours hold an alert of `severity` for a destination; `None` where they do not. Webhooks are machines and
/// have none; a person's own count instead of the tenant's.
#[must_use]
pub fn quiet_until(
    settings: &Settings,
    destination: &Destination,
    channel: Channel,
    severity: Severity,
    policy: &Policy,
    now: Timestamp,
) -> Option<Timestamp> {
    if channel == Channel::Webhook || !policy.plans.get(&settings.plan)?.quiet_hours {
        return None;
    }
    let of_tenant = || Some((settings.quiet_hours.as_ref()?, settings.zone.as_str()));
    let (hours, zone) = match destination {
        Destination::Recipient(recipient) => match &recipient.quiet_hours {
            Some(OwnQuietHours::Off) => None,
            Some(OwnQuietHours::Hours(hours)) => Some((hours, recipient.zone.as_deref().unwrap_or(&settings.zone))),
            None => of_tenant(),
        },
        Destination::Integration(_) => of_tenant(),
    }?;
    if severity == Severity::Critical && hours.critical_passes { None } else { hours.until(zone, now) }
}

/// What the tenant or its contract switched off. A user-level warning belongs to no category, so no toggle concerns it.
fn switched_off(asked: &Asked<'_>, case: &Case<'_>) -> Option<Reason> {
    let class = case.channel.class();
    let chosen = asked.incident.category.and_then(|category| asked.settings.categories.get(&category));
    if asked.incident.category.is_some() && !chosen.is_some_and(|chosen| chosen.enabled) {
        return Some(Reason::CategoryDisabled);
    }
    if !asked.policy.plans.get(&asked.settings.plan).is_some_and(|plan| plan.channels.contains(&class)) {
        return Some(Reason::PlanExcludesChannel);
    }
    if asked.settings.data_processing.channels.as_ref().is_some_and(|channels| !channels.contains(&class)) {
        return Some(Reason::AgreementExcludesChannel);
    }
    if let Some(chosen) = chosen {
        if !chosen.channels.contains(&class) {
            return Some(Reason::ChannelNotTicked);
        }
        if chosen.muted_until.is_some_and(|until| asked.now < until) {
            return Some(Reason::Muted);
        }
    }
    let lawful = compliance_wording(class).is_none() || asked.settings.compliance_confirmed.contains_key(&class);
    if !lawful {
        return Some(Reason::ComplianceUnconfirmed);
    }
    case.limited.then_some(Reason::PlanLimit)
}

/// The role by which the matrix gives this destination the category on this channel, or why none does.
fn allowance(asked: &Asked<'_>, case: &Case<'_>) -> Result<Option<Role>, Reason> {
    let recipient = match case.destination {
        Destination::Recipient(recipient) => Some(recipient.as_ref()),
        Destination::Integration(_) => None,
    };
    let Some(category) = asked.incident.category else {
        let needed = match case.channel {
            Channel::Email => OptIn::WarningsEmail,
            Channel::Sms => OptIn::WarningsSms,
            Channel::Slack | Channel::Teams | Channel::Webhook => return Err(Reason::OptInMissing),
        };
        let opted = recipient.is_some_and(|recipient| recipient.opt_ins.contains(&needed));
        return if opted { Ok(None) } else { Err(Reason::OptInMissing) };
    };
    if NOTICES.contains(&asked.incident.event_type.as_str()) {
        // What does not reach somebody is the org admins' to mend: on every channel that they have, since one of them may be what fails.
        let admin = case.destination.roles().contains(&Role::OrgAdmin);
        return if admin { Ok(Some(Role::OrgAdmin)) } else { Err(Reason::RoleNotInMatrix) };
    }
    let mut refusal = Reason::RoleNotInMatrix;
    for &role in case.destination.roles() {
        match asked.policy.matrix.allows(role, category, case.channel.class()) {
            Allowance::Yes => return Ok(Some(role)),
            Allowance::OptIn => {
                if recipient.is_some_and(|recipient| recipient.opt_ins.contains(&OptIn::ConfigurableEmail)) {
                    return Ok(Some(role));
                }
                refusal = Reason::OptInMissing;
            }
            Allowance::LowBalanceOnly => {
                if asked.incident.low_balance {
                    return Ok(Some(role));
                }
                refusal = Reason::LowBalanceOnly;
            }
            Allowance::No => {}
        }
    }
    Err(refusal)
}

/// What nothing overrides: no address, not confirmed, paused, gone, or its owner said no. Asked again before a delivery that
/// was put off is sent.
#[must_use]
pub fn unreachable(
    incident: &Incident,
    settings: &Settings,
    destination: &Destination,
    channel: Channel,
    now: Timestamp,
) -> Option<Reason> {
    match destination {
        Destination::Integration(integration) => {
            if integration.paused {
                return Some(Reason::IntegrationPaused);
            }
            // A test is how one finds out whether the endpoint is mended, and so is an alert of its owner's now and then.
            let shut =
                integration.disabled.as_ref().is_some_and(|disabled| !disabled.is_half_open(now) || is_own(incident));
            (shut && !incident.test).then_some(Reason::EndpointDisabled)
        }
        Destination::Recipient(recipient) => match channel {
            Channel::Email => unreachable_by_email(incident, settings, recipient),
            _ => unreachable_by_sms(recipient),
        },
    }
}

fn unreachable_by_email(incident: &Incident, settings: &Settings, recipient: &Recipient) -> Option<Reason> {
    let Some(email) = &recipient.email else { return Some(Reason::NoDestination) };
    let unsubscribed = match incident.category {
        Some(category) => recipient.unsubscribed.contains(&category),
        None => recipient.unsubscribed_warnings,
    };
    if unsubscribed {
        return Some(Reason::OptedOut);
    }
    if let Some(suppressed) = recipient.suppressed {
        return Some(suppressed.reason);
    }
    let allowed = &settings.allowed_email_domains;
    if !allowed.is_empty() && !allowed.iter().any(|domain| domain == email.domain()) {
        return Some(Reason::DomainNotAllowed);
    }
    (!recipient.email_confirmed).then_some(Reason::ContactUnconfirmed)
}

fn unreachable_by_sms(recipient: &Recipient) -> Option<Reason> {
    if recipient.phone.is_none() {
        return Some(Reason::NoDestination);
    }
    if recipient.sms_opted_out.is_some() {
        return Some(Reason::OptedOut);
    }
    if recipient.dnd && !recipient.sms_consent {
        return Some(Reason::Dnd);
    }
    (!recipient.phone_confirmed).then_some(Reason::ContactUnconfirmed)
}

/// What the destination does not want to hear of. An empty filter takes everything, an event without regions or components
/// passes every such filter, several values match on any overlap.
fn filtered(asked: &Asked<'_>, case: &Case<'_>) -> Option<Reason> {
    let filters = case.destination.filters();
    let update = case.update;
    if let (Destination::Integration(integration), Some(category)) = (case.destination, asked.incident.category)
        && !integration.categories.is_empty()
        && !integration.categories.contains(&category)
    {
        return Some(Reason::CategoryNotChosen);
    }
    // An endpoint is not told, by itself, that it fails; nor is what a channel could not carry told on that channel.
    if is_subject(asked.incident, update, case) {
        return Some(Reason::EndpointIsSubject);
    }
    if matches!(case.destination, Destination::Integration(integration) if integration.failing.is_some())
        && is_own(asked.incident)
        && !asked.incident.test
    {
        return Some(Reason::EndpointFailing);
    }
    // A severity that went down does not unsubscribe whoever was told that it was high.
    if !case.told && filters.min_severity.is_some_and(|least| update.severity < least) {
        return Some(Reason::SeverityBelowFilter);
    }
    if misses(&filters.regions, &update.regions) {
        return Some(Reason::RegionMismatch);
    }
    misses(&filters.components, &update.components).then_some(Reason::ComponentMismatch)
}

/// Whether Tocsin itself has something to say.
fn is_own(incident: &Incident) -> bool {
    incident.event_type.starts_with(OWN_TYPES)
}

fn is_subject(incident: &Incident, update: &Update, case: &Case<'_>) -> bool {
    if incident.event_type == UNDELIVERED {
        return update.labels.get("channel").is_some_and(|failed| failed == case.channel.as_str());
    }
    is_own(incident) && incident.dedup_key == case.destination.id()
}

fn misses(wanted: &[String], affected: &[String]) -> bool {
    !wanted.is_empty() && !affected.is_empty() && !affected.iter().any(|name| wanted.contains(name))
}
