//! What happens around contacts: who has a mailbox that bounces, who complains, who is asked, who changes an address.

use super::{Scenario, Scene, seconds_after};
use crate::random::Random;
use domain::tenant::{Destination, Email, Recipient};
use domain::vocabulary::{Category, Channel};

/// What the random numbers of contacts are drawn from, beside the seed: worlds without reports are the same as if there were none.
const CONTACTS: u64 = 0x636f_6e74_6163_7473;

/// How the owner of an address or number behaves, and whether the mailbox exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Reads everything, and allows what is asked.
    Willing,
    /// The mailbox does not exist: everything bounces.
    Missing,
    /// Reports now and then a message as spam.
    Complaining,
    /// Texts STOP now and then.
    Stopping,
}

impl Owner {
    /// The owner of a contact that nothing is known about yet.
    pub fn new(channel: Channel, random: &mut Random) -> Self {
        match (channel, random.between(0, 10)) {
            (Channel::Sms, 0..=3) => Self::Stopping,
            (Channel::Sms, _) => Self::Willing,
            (_, 0..=2) => Self::Missing,
            (_, 3 | 4) => Self::Complaining,
            _ => Self::Willing,
        }
    }
}

/// The random numbers of a world's contacts.
#[must_use]
pub fn random(seed: u64) -> Random {
    Random::new(seed ^ CONTACTS)
}

/// The second of the addresses that a recipient may have.
#[must_use]
pub fn second_address(name: &str) -> Option<Email> {
    Email::parse(&format!("{name}@example.org")).ok()
}

impl Scenario {
    /// Lets two tenants have one address now and then, and adds what people do about contacts.
    pub(super) fn add_contact_scenes(&mut self, random: &mut Random) {
        let shared = recipient(self, 0, 0).and_then(|one| one.email.clone());
        for tenant in 1..self.tenants.len() {
            if random.percent(60) {
                let first = self.tenants[tenant].destinations.first_mut();
                if let Some((_, Destination::Recipient(one))) = first {
                    one.email.clone_from(&shared);
                }
            }
        }
        let last = self.scenes.last().map_or(self.begin, |(at, _)| *at);
        let length = last.as_second() - self.begin.as_second();
        for _ in 0..random.between(6, 14) {
            let at = seconds_after(self.begin, random.between(0, length.max(1)));
            let (tenant, destination) = (random.place(self.tenants.len()), random.place(2));
            match random.between(0, 10) {
                0 => self.scenes.push((at, Scene::Address { tenant, destination, second: random.once_in(2) })),
                1 => {
                    let category = *random.pick(Category::ALL);
                    self.scenes.push((at, Scene::Unsubscribe { tenant, destination, category }));
                }
                2 => self.scenes.push((at, Scene::Never { tenant, destination })),
                // Somebody asks again and again.
                _ => {
                    let channel = if random.once_in(3) { Channel::Sms } else { Channel::Email };
                    let (times, gap) = (random.between(1, 9), *random.pick(&[5, 61, 600, 7_200, 50_000]));
                    for time in 0..times {
                        self.scenes.push((seconds_after(at, time * gap), Scene::Ask { tenant, destination, channel }));
                    }
                }
            }
        }
    }
}

fn recipient(scenario: &Scenario, tenant: usize, place: usize) -> Option<&Recipient> {
    match scenario.tenants.get(tenant)?.destinations.get(place) {
        Some((_, Destination::Recipient(one))) => Some(one),
        _ => None,
    }
}
