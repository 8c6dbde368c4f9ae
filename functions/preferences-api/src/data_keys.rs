//! Operator commands on the data key: the next generation, sealing everything with it, and the end of an old one.
//!
//! Each can be repeated at any time. The command line (`cargo xtask keys`) repeats them until they are done.

use crate::PreferencesApi;
use crate::bootstrap::{operator_audit, storage_error};
use contracts::http::{KeysCommand, RetireKey};
use domain::data_key::{DataKeyGeneration, NotYet, ResealPass, links_work_until, may_retire};
use domain::ids::{SHARDS, TenantId};
use domain::subscriber::Subscriber;
use domain::tenant::{Destination, Integration, OldSecret, Sealed};
use domain::vocabulary::Category;
use futures::stream::{self, StreamExt};
use jiff::{SignedDuration, Timestamp};
use runtime::{DirectError, clock, ids};
use serde_json::{Value, json};
use store::StoreError;
use store::data_keys::{KeyAudit, SealedValues, StoredDataKey};
use store::tenants::AuditStamp;
use vault::{Keyring, LoadError, NextGeneration};

/// Tenants whose values are sealed again at once.
const TENANTS_AT_ONCE: usize = 8;
/// How long one invocation seals. The function's timeout is 20 s.
const RESEAL_TIME_MAX: SignedDuration = SignedDuration::from_secs(12);

/// Runs a command.
pub(crate) async fn run(app: &PreferencesApi, command: KeysCommand) -> Result<Value, DirectError> {
    match command {
        KeysCommand::Status => status(app).await,
        KeysCommand::Rotate => rotate(app).await,
        KeysCommand::Reseal => reseal(app).await,
        KeysCommand::Retire(which) => retire(app, which).await,
    }
}

/// The generations of the data key as they are stored.
struct Ring {
    keys: Vec<StoredDataKey>,
    generations: Vec<DataKeyGeneration>,
    newest: DataKeyGeneration,
}

impl Ring {
    async fn read(app: &PreferencesApi) -> Result<Self, DirectError> {
        let keys = app.table.data_keys().await.map_err(storage_error)?;
        let generations: Vec<DataKeyGeneration> = keys.iter().map(|key| key.generation.clone()).collect();
        // The function makes the first one when it starts.
        let newest = generations.last().cloned();
        let newest =
            newest.ok_or_else(|| DirectError::new("Internal", "there is no data key; run the command again"))?;
        Ok(Self { keys, generations, newest })
    }
}

async fn status(app: &PreferencesApi) -> Result<Value, DirectError> {
    let Ring { generations, newest, .. } = Ring::read(app).await?;
    let integrations = app.table.reseal_pass(SealedValues::Integrations).await.map_err(storage_error)?;
    let dead_letters = app.table.reseal_pass(SealedValues::DeadLetters).await.map_err(storage_error)?;
    let view = |one: &DataKeyGeneration| {
        let state = match one {
            DataKeyGeneration { retired_at: Some(_), .. } => "retired",
            one if one.number == newest.number => "seals and signs",
            DataKeyGeneration { links_ended_at: Some(_), .. } => "opens what it sealed; its links were ended",
            _ => "opens what it sealed; its links work",
        };
        json!({"generation": one.number, "state": state, "created_at": one.created_at,
            "links_work_until": links_work_until(one, &generations), "links_ended_at": one.links_ended_at,
            "retired_at": one.retired_at})
    };
    let generations: Vec<Value> = generations.iter().map(view).collect();
    let complete = |pass: &Option<ResealPass>| pass.as_ref().is_some_and(|pass| pass.is_complete(&newest));
    Ok(json!({"generations": generations, "newest": newest.number, "settled_at": newest.settled_at,
        "settles_in_seconds": seconds_until(newest.settled_at), "resealed": complete(&integrations) && complete(&dead_letters),
        "integrations": integrations, "dead_letters": dead_letters}))
}

/// Whole seconds until then, rounded up; 0 if it is over.
fn seconds_until(at: Timestamp) -> i64 {
    let left = at.duration_since(clock::now());
    (left.as_secs() + i64::from(left.subsec_nanos() > 0)).max(0)
}

async fn rotate(app: &PreferencesApi) -> Result<Value, DirectError> {
    let Ring { newest, .. } = Ring::read(app).await?;
    let now = clock::now();
    let settled = newest.settled_at;
    // A command that is repeated because its answer was lost makes no further generation.
    if now < settled {
        let number = newest.number;
        let message = format!("generation {number} was made moments ago; the next one can be made at {settled:.0}");
        return Err(DirectError::new("TooSoon", message));
    }
    let audit = operator_audit("data_key.made", &format!("generation {}", newest.number.saturating_add(1)));
    let nonce = ids::id_suffix();
    let next = NextGeneration { key_id: &app.kms_key_id, newest: newest.number, settling: app.data_key_settling };
    let made = app.keyring.make_next(next, KeyAudit { record: &audit, nonce: &nonce });
    match made.await.map_err(keys_error)? {
        Some(made) => {
            tracing::info!(generation = made.number, "a generation of the data key was made");
            Ok(json!({"generation": made.number, "settled_at": made.settled_at}))
        }
        None => Err(DirectError::new("TooSoon", "another command made the next generation at the same moment")),
    }
}

async fn retire(app: &PreferencesApi, which: RetireKey) -> Result<Value, DirectError> {
    let number = which.generation;
    let Ring { keys, mut generations, newest } = Ring::read(app).await?;
    let now = clock::now();
    let mut stored = keys.into_iter().find(|key| key.generation.number == number);
    if stored.as_ref().is_some_and(|key| key.generation.retired_at.is_some()) {
        return Ok(
            json!({"generation": number, "retired": true, "message": format!("generation {number} is retired")}),
        );
    }
    let object = format!("generation {number}");
    let mut links_ended_at = stored.as_ref().and_then(|key| key.generation.links_ended_at);
    if let Some(key) = stored.as_mut().filter(|key| which.now && key.generation.has_links() && number != newest.number)
    {
        links_ended_at = Some(now);
        key.generation.links_ended_at = links_ended_at;
        change(app, key, "data_key.links_ended", &object).await?;
        generations.iter_mut().filter(|one| one.number == number).for_each(|one| one.links_ended_at = links_ended_at);
    }
    let integrations = app.table.reseal_pass(SealedValues::Integrations).await.map_err(storage_error)?;
    let dead_letters = app.table.reseal_pass(SealedValues::DeadLetters).await.map_err(storage_error)?;
    let refused = match (may_retire(number, &generations, &[integrations, dead_letters], now), stored) {
        (Ok(()), Some(mut key)) => {
            key.generation.retired_at = Some(now);
            key.wrapped = None;
            change(app, &key, "data_key.retired", &object).await?;
            let message = format!("generation {number} is retired");
            return Ok(json!({"generation": number, "retired": true, "message": message}));
        }
        (Ok(()), None) => NotYet::Unknown,
        (Err(refused), _) => refused,
    };
    let (waits_for, until) = match refused {
        NotYet::Unknown => ("unknown", None),
        NotYet::Newest => ("newest", None),
        NotYet::Links(until) => ("links", Some(until)),
        NotYet::Settling(until) => ("settling", Some(until)),
        NotYet::Sealed => ("sealed", None),
    };
    Ok(json!({"generation": number, "retired": false, "waits_for": waits_for, "until": until,
        "wait_seconds": until.map(seconds_until), "links_ended_at": links_ended_at, "message": refusal(number, refused)}))
}

/// Says why a generation is kept, and what to do.
fn refusal(number: u32, refused: NotYet) -> String {
    match refused {
        NotYet::Unknown => format!("there is no generation {number}; `status` lists them"),
        NotYet::Newest => {
            format!("generation {number} is the newest, which seals and signs; make the next one with `rotate` first")
        }
        NotYet::Links(until) => format!(
            "generation {number} is kept until {until:.0}: until then links in messages work that it signed. If it leaked, retire it with \
             `now`, which ends its links at once"
        ),
        NotYet::Settling(until) => format!(
            "running functions may seal with generation {number} until {until:.0}; seal everything again (`reseal`) after that, and retire it then"
        ),
        NotYet::Sealed => format!(
            "secrets or dead letters may still be sealed by generation {number}; run `reseal` until it is done, and look at `status`"
        ),
    }
}

/// Writes what has become of a generation, with its audit entry.
async fn change(app: &PreferencesApi, key: &StoredDataKey, what: &str, object: &str) -> Result<(), DirectError> {
    let audit = operator_audit(what, object);
    let nonce = ids::id_suffix();
    let changed = app.table.change_data_key(key, KeyAudit { record: &audit, nonce: &nonce });
    if !changed.await.map_err(storage_error)? {
        return Err(DirectError::new("Conflict", "another command retired it at the same moment; look at `status`"));
    }
    tracing::info!(generation = key.generation.number, what, "a generation of the data key was changed");
    app.keyring.reload(clock::now()).await.map(drop).map_err(keys_error)
}

fn keys_error(error: LoadError) -> DirectError {
    tracing::error!(%error, "cannot load or make data keys");
    DirectError::new("Unavailable", format!("{error}; run the command again"))
}

/// Seals the values of integrations with the newest generation, tenant after tenant, for some seconds. The table says where to go on.
async fn reseal(app: &PreferencesApi) -> Result<Value, DirectError> {
    let began = clock::now();
    let Ring { newest, .. } = Ring::read(app).await?;
    // Read after the generations, so that it has the newest of them.
    let keyring = app.keyring.reload(began).await.map_err(keys_error)?;
    let stored = app.table.reseal_pass(SealedValues::Integrations).await.map_err(storage_error)?;
    let mut pass = ResealPass::resume(stored, &newest, began);
    let mut done = Ok(());
    if pass.finished_at.is_none() {
        let until = began.saturating_add(RESEAL_TIME_MAX).unwrap_or(began);
        done = Reseal { app, keyring: &keyring, until }.go_on(&mut pass).await;
        // Also after a fault: what was done before it is done.
        app.table.save_reseal_pass(SealedValues::Integrations, &pass).await.map_err(storage_error)?;
    }
    done.map_err(storage_error)?;
    Ok(json!({"done": pass.finished_at.is_some(), "pass": pass}))
}

/// A place in the compiled subscriptions, which name every tenant: category, shard, and the tenant after which it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    category: usize,
    shard: u16,
    after: Option<TenantId>,
}

impl Place {
    const BEGINNING: Self = Self { category: 0, shard: 0, after: None };

    fn parse(cursor: &str) -> Option<Self> {
        let mut parts = cursor.splitn(3, '/');
        let category = parts.next()?.parse().ok()?;
        let shard = parts.next()?.parse().ok()?;
        let after = parts.next().filter(|tenant| !tenant.is_empty());
        let after = after.map(TenantId::parse).transpose().ok()?;
        (shard < SHARDS && category < Category::ALL.len()).then_some(Self { category, shard, after })
    }

    fn cursor(&self) -> String {
        format!("{}/{}/{}", self.category, self.shard, self.after.as_ref().map_or("", TenantId::as_str))
    }

    /// The beginning of the next shard; `None` after the last one.
    fn next_shard(&self) -> Option<Self> {
        let (category, shard) =
            if self.shard + 1 < SHARDS { (self.category, self.shard + 1) } else { (self.category + 1, 0) };
        (category < Category::ALL.len()).then_some(Self { category, shard, after: None })
    }
}

/// What a pass found one value to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Resealed,
    Current,
    Unopened,
}

/// What became of one tenant: its values, each with the id of its integration; `None` if it could not be read.
type TenantValues = Option<Vec<(String, Found)>>;

struct Reseal<'a> {
    app: &'a PreferencesApi,
    keyring: &'a Keyring,
    until: Timestamp,
}

impl Reseal<'_> {
    async fn go_on(&self, pass: &mut ResealPass) -> Result<(), StoreError> {
        let mut place = pass.cursor.as_deref().and_then(Place::parse).unwrap_or(Place::BEGINNING);
        loop {
            let Some(&category) = Category::ALL.get(place.category) else { return Ok(()) };
            let page = self.app.table.subscribers(category, place.shard, place.after.as_ref()).await?;
            let mut tenants: Vec<(TenantId, Option<Subscriber>)> =
                page.unreadable.into_iter().map(|tenant| (tenant, None)).collect();
            tenants.extend(page.subscribers.into_iter().map(|one| (one.settings.tenant.clone(), Some(one))));
            tenants.sort_by(|(one, _), (other, _)| one.cmp(other));
            for some in tenants.chunks(TENANTS_AT_ONCE) {
                let sealing = some.iter().map(|(tenant, compiled)| self.tenant(category, tenant, compiled.as_ref()));
                let values: Vec<Result<TenantValues, StoreError>> =
                    stream::iter(sealing.collect::<Vec<_>>()).buffered(TENANTS_AT_ONCE).collect().await;
                for ((tenant, _), values) in some.iter().zip(values) {
                    count(pass, tenant, values?, place.category == 0);
                    place.after = Some(tenant.clone());
                    pass.cursor = Some(place.cursor());
                }
                if clock::now() > self.until {
                    return Ok(());
                }
            }
            match page.next {
                Some(next) => place.after = Some(next),
                None => match place.next_shard() {
                    Some(next) => place = next,
                    None => {
                        pass.cursor = None;
                        pass.finished_at = Some(clock::now());
                        tracing::info!(
                            generation = pass.generation,
                            resealed = pass.resealed,
                            unread = pass.unread,
                            unopened = pass.unopened,
                            "a pass over the secrets of integrations is over"
                        );
                        return Ok(());
                    }
                },
            }
            pass.cursor = Some(place.cursor());
            if clock::now() > self.until {
                return Ok(());
            }
        }
    }

    /// Seals the values of one tenant. Every category has the same destinations, so the integrations themselves are read with the first one,
    /// and with the others only if their compiled copy is not as new.
    async fn tenant(
        &self,
        category: Category,
        tenant: &TenantId,
        compiled: Option<&Subscriber>,
    ) -> Result<TenantValues, StoreError> {
        let Some(compiled) = compiled else { return Ok(None) };
        let newest = self.keyring.newest_generation().unwrap_or_default();
        let is_old = |one: &Integration| values(one).iter().any(|value| generation(value) != Some(newest));
        let copy_is_old = integrations_of(compiled).any(is_old);
        if Some(&category) != Category::ALL.first() && !copy_is_old {
            return Ok(Some(Vec::new()));
        }
        let stored = match self.app.table.integrations(tenant).await {
            Ok(stored) => stored,
            Err(StoreError::Corrupt { kind, detail }) => {
                tracing::error!(%tenant, kind, detail, "secrets cannot be sealed again: an integration cannot be read");
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let mut found = Vec::new();
        for integration in stored {
            let was_old: Vec<bool> =
                values(&integration).iter().map(|value| generation(value) != Some(newest)).collect();
            let current =
                if was_old.contains(&true) { self.integration(tenant, integration).await? } else { integration };
            for (place, value) in values(&current).into_iter().enumerate() {
                let outcome = match generation(value) == Some(newest) {
                    true if was_old.get(place) == Some(&true) => Found::Resealed,
                    true => Found::Current,
                    false => Found::Unopened,
                };
                found.push((current.id.to_string(), outcome));
            }
        }
        if copy_is_old {
            self.mend_copy(category, tenant).await?;
        }
        Ok(Some(found))
    }

    /// Seals the values of an integration and returns it as it is stored then.
    async fn integration(&self, tenant: &TenantId, integration: Integration) -> Result<Integration, StoreError> {
        let nonce = ids::id_suffix();
        let stamp = AuditStamp { at: clock::now(), who: "operator", nonce: &nonce };
        let change =
            |current: &mut Integration| seal_again(self.keyring, tenant, current).then_some("integration.resealed");
        let changed = self.app.table.change_integration(tenant, &integration.id, stamp, change).await?;
        Ok(changed.unwrap_or(integration))
    }

    /// Compiles a tenant's subscriptions again if they still differ from its integrations.
    async fn mend_copy(&self, category: Category, tenant: &TenantId) -> Result<(), StoreError> {
        let stored = self.app.table.integrations(tenant).await?;
        let Some(compiled) = self.app.table.subscriber(tenant, category).await? else { return Ok(()) };
        let same = |copy: &Integration| stored.iter().any(|one| one.id == copy.id && values(one) == values(copy));
        if integrations_of(&compiled).all(same) {
            return Ok(());
        }
        tracing::warn!(%tenant, "compiled subscriptions differ from the integrations; they are compiled again");
        self.app.table.rebuild_subscriptions(tenant).await.map(drop)
    }
}

/// Adds what was found of a tenant to a pass. Values are counted with the first category only.
fn count(pass: &mut ResealPass, tenant: &TenantId, values: TenantValues, is_first: bool) {
    let Some(values) = values else { return pass.count_unread(format!("tenant {tenant}")) };
    for (integration, value) in values {
        match value {
            Found::Resealed => pass.count_resealed(),
            Found::Current if is_first => pass.count_sealed(pass.generation),
            Found::Unopened if is_first => pass.count_unopened(format!("tenant {tenant}, {integration}")),
            Found::Current | Found::Unopened => {}
        }
    }
}

fn integrations_of(subscriber: &Subscriber) -> impl Iterator<Item = &Integration> {
    subscriber.destinations.iter().filter_map(|(_, destination)| match destination {
        Destination::Integration(integration) => Some(integration.as_ref()),
        Destination::Recipient(_) => None,
    })
}

/// Returns the sealed values of an integration.
fn values(integration: &Integration) -> Vec<&Sealed> {
    let old = integration.old_secret.as_ref().map(|old| &old.secret);
    std::iter::once(&integration.url).chain(&integration.secret).chain(old).collect()
}

fn generation(value: &Sealed) -> Option<u32> {
    vault::Sealed::from(value.expose().to_owned()).generation()
}

/// Seals with the newest generation what an earlier one sealed. Returns whether anything changed. What cannot be opened stays as it is.
fn seal_again(keyring: &Keyring, tenant: &TenantId, integration: &mut Integration) -> bool {
    let aad = vault::owner_aad(tenant.as_str(), integration.id.as_str());
    let mut changed = false;
    let old = integration.old_secret.as_mut().map(|OldSecret { secret, .. }| secret);
    for value in std::iter::once(&mut integration.url).chain(integration.secret.as_mut()).chain(old) {
        match keyring.reseal(&aad, &vault::Sealed::from(value.expose().to_owned())) {
            Ok(Some(sealed)) => {
                *value = Sealed::new(sealed.into());
                changed = true;
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!(%tenant, integration = %integration.id, %error, "a secret cannot be sealed again");
            }
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_visits_every_shard_of_every_category_once_and_ends() {
        let (mut place, mut visited) = (Place::BEGINNING, 1);
        while let Some(next) = place.next_shard() {
            assert_eq!(Place::parse(&next.cursor()), Some(next.clone()));
            (place, visited) = (next, visited + 1);
        }
        assert_eq!(visited, Category::ALL.len() * usize::from(SHARDS));
        let within = Place { category: 1, shard: 7, after: Some(TenantId::parse("acme-2").unwrap()) };
        assert_eq!(Place::parse(&within.cursor()), Some(within));
        for bad in ["", "0", "9/0/", "0/64/", "0/0/A B", "x/0/"] {
            assert_eq!(Place::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_integrations_values_are_sealed_again_and_what_nobody_opens_stays() {
        let key = |number: u8| (u32::from(number), [number; 32]);
        let old = Keyring::from_keys([key(1)].into()).unwrap();
        let both = Keyring::from_keys([key(1), key(2)].into()).unwrap();
        let new = Keyring::from_keys([key(2)].into()).unwrap();
        let tenant = TenantId::parse("acme").unwrap();
        let aad = vault::owner_aad("acme", "int_a");
        let sealed = |text: &str| Sealed::new(old.seal(&aad, text.as_bytes()).unwrap().into());
        let mut integration: Integration = serde_json::from_value(json!({"id": "int_a", "name": "n", "kind": "webhook",
            "url": sealed("https://x.test").expose(), "host": "x.test", "fingerprint": "f", "secret": sealed("whsec_x").expose(),
            "old_secret": {"secret": "v1.1.AAAA", "until": "2026-01-01T00:00:00Z"}, "audiences": ["tech_devops"], "version": 1}))
        .unwrap();
        assert!(seal_again(&both, &tenant, &mut integration));
        let generations: Vec<Option<u32>> = values(&integration).into_iter().map(generation).collect();
        assert_eq!(generations, [Some(2), Some(2), Some(1)]);
        let open = |value: &Sealed| new.open(&aad, &vault::Sealed::from(value.expose().to_owned())).unwrap();
        assert_eq!(open(&integration.url), b"https://x.test");
        assert!(!seal_again(&both, &tenant, &mut integration), "once");
    }

    #[test]
    fn every_refusal_says_what_to_do() {
        let at = Timestamp::from_second(1_000_000_000).unwrap();
        for (refused, words) in [
            (NotYet::Unknown, "`status` lists them"),
            (NotYet::Newest, "`rotate` first"),
            (NotYet::Links(at), "kept until 2001-09-09T01:46:40Z"),
            (NotYet::Settling(at), "until 2001-09-09T01:46:40Z"),
            (NotYet::Sealed, "run `reseal`"),
        ] {
            assert!(refusal(1, refused).contains(words), "{}", refusal(1, refused));
        }
    }
}
