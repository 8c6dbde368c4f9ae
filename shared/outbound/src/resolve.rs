//! The client's resolver, which rejects names with an address that is not public.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::forbidden::forbidden_block;

/// A name resolved to a forbidden address. Holds the name of the address block.
#[derive(Debug, thiserror::Error)]
#[error("resolves to an address that is not public: {0}")]
pub(crate) struct ForbiddenAddress(pub(crate) &'static str);

/// Resolves names with the system's resolver and rejects a name if any of its addresses is forbidden.
///
/// A name with a private address among public ones is an attack or a mistake. Dropping only the private address would hide both.
pub(crate) struct PublicOnlyResolver;

impl Resolve for PublicOnlyResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found =
                lookup_public(
                    name.as_str(),
                    |name| async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) },
                );
            Ok(Box::new(found.await?.into_iter()) as Addrs)
        })
    }
}

/// Runs a lookup and checks its result. The lookup is a parameter, so that the check can be tested without a name server.
pub(crate) async fn lookup_public<Lookup, Answer>(
    name: &str,
    lookup: Lookup,
) -> Result<Vec<SocketAddr>, Box<dyn std::error::Error + Send + Sync>>
where
    Lookup: FnOnce(String) -> Answer,
    Answer: Future<Output = io::Result<Vec<SocketAddr>>>,
{
    let found = lookup(name.to_owned()).await?;
    if let Some(block) = found.iter().find_map(|address| forbidden_block(address.ip())) {
        return Err(Box::new(ForbiddenAddress(block)));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn resolve(addresses: &[&str]) -> Result<Vec<SocketAddr>, String> {
        let found = addresses.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 0)).collect();
        lookup_public("hooks.acme.io", |_| async move { Ok(found) }).await.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn public_addresses_are_returned_unchanged() {
        let found = resolve(&["93.184.216.34", "2606:2800:220:1::1"]).await.unwrap();
        let expected: Vec<SocketAddr> =
            vec!["93.184.216.34:0".parse().unwrap(), "[2606:2800:220:1::1]:0".parse().unwrap()];
        assert_eq!(found, expected);
    }

    #[tokio::test]
    async fn one_private_address_among_public_ones_rejects_the_name() {
        for (addresses, block) in [
            (&["10.0.0.1"][..], "private network (10.0.0.0/8)"),
            (&["10.0.0.1", "93.184.216.34"], "private network (10.0.0.0/8)"),
            (&["93.184.216.34", "10.0.0.1"], "private network (10.0.0.0/8)"),
            (&["93.184.216.34", "1.1.1.1", "169.254.169.254", "8.8.8.8"], "instance metadata service"),
            (&["93.184.216.34", "::1"], "loopback (::1)"),
            (&["2606:2800:220:1::1", "fd00:ec2::254"], "instance metadata service"),
            (&["2606:2800:220:1::1", "::ffff:10.0.0.1"], "IPv4-mapped (::ffff:0:0/96)"),
            (&["2606:2800:220:1::1", "64:ff9b::a00:1"], "NAT64 (64:ff9b::/96)"),
        ] {
            let refused = resolve(addresses).await.unwrap_err();
            assert_eq!(refused, format!("resolves to an address that is not public: {block}"), "{addresses:?}");
        }
    }

    #[tokio::test]
    async fn a_name_that_does_not_resolve_is_a_lookup_failure() {
        let failed =
            lookup_public("nowhere.acme.io", |_| async { Err(io::Error::other("no such host")) }).await.unwrap_err();
        assert!(failed.downcast_ref::<ForbiddenAddress>().is_none());
    }

    #[tokio::test]
    async fn names_of_the_system_resolver_are_checked() {
        let refused = PublicOnlyResolver.resolve("localhost".parse().unwrap()).await.err().unwrap();
        assert!(refused.downcast_ref::<ForbiddenAddress>().is_some(), "{refused}");
    }
}
