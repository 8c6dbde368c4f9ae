//! Checks URLs before they are saved and before they are called.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use url::{Host, Url};

use crate::forbidden::forbidden_block;

/// Maximum length of a URL in bytes.
const URL_LENGTH_MAX: usize = 2048;

/// Suffixes of names that resolve only in private networks (RFC 6761, 6762, 8375, and `internal`, which ICANN reserved for that).
const PRIVATE_SUFFIXES: &[&str] = &["localhost", "local", "internal", "lan", "home.arpa"];

/// The `host:port` pairs that are exempt from the address check: the receivers of the local stack. Empty on all other stacks.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Exceptions(BTreeSet<(String, u16)>);

/// An entry of the exception list is not `host:port`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("OUTBOUND_EXCEPTIONS: entry {position} is not host:port; write, for example, 127.0.0.1:8443,localhost:8444")]
pub struct ExceptionsError {
    /// Position of the entry, from 1. The entry itself is not repeated, because it may be a mistyped secret.
    pub position: usize,
}

impl Exceptions {
    /// Parses the comma-separated list. A blank text is an empty list.
    ///
    /// # Errors
    /// Position of the first entry that is not `host:port`.
    pub fn parse(text: &str) -> Result<Self, ExceptionsError> {
        let mut entries = BTreeSet::new();
        for (index, entry) in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).enumerate() {
            let bad = ExceptionsError { position: index + 1 };
            // Parsed as a URL, so that the host has the same normal form as in the URLs that it is compared with.
            let url = Url::parse(&format!("https://{entry}/")).map_err(|_| bad.clone())?;
            let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else { return Err(bad) };
            let spelled_out = entry.rsplit_once(':').is_some_and(|(_, digits)| digits.parse() == Ok(port));
            let nothing_else = url.username().is_empty() && url.password().is_none() && url.path() == "/";
            if !spelled_out || !nothing_else || url.query().is_some() || url.fragment().is_some() {
                return Err(bad);
            }
            entries.insert((host.to_owned(), port));
        }
        Ok(Self(entries))
    }

    /// Whether there are no exceptions.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a URL's host and port are an exception.
    pub(crate) fn contains(&self, url: &Url) -> bool {
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else { return false };
        // A linear search: a set of owned pairs cannot be searched with a borrowed pair, and the list has few entries.
        self.0.iter().any(|(excepted, at)| excepted == host && *at == port)
    }
}

impl fmt::Debug for Exceptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Exceptions({} entries)", self.0.len())
    }
}

/// Why a URL is rejected, and what to use instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlProblem {
    /// The text is not a URL.
    #[error("url is not a valid URL; use a full URL, for example https://hooks.example.com/tocsin")]
    NotAUrl,
    /// The URL is too long.
    #[error("url is longer than 2048 characters; use a shorter one")]
    TooLong,
    /// The scheme is not https.
    #[error("url must begin with https://; alerts are sent only over TLS")]
    NotHttps,
    /// The URL contains `user:password@`.
    #[error("url contains a user name or password; remove the part before the @ and verify Tocsin's signature instead")]
    UserInfo,
    /// The URL has no host.
    #[error("url has no host; use a full URL, for example https://hooks.example.com/tocsin")]
    NoHost,
    /// The port is not 443.
    #[error("url has port {0}; alerts are sent only to port 443, so remove the port")]
    Port(u16),
    /// The URL contains `#…`. A fragment is never sent, so it would not have the effect that its author expects.
    #[error("url has a fragment; remove the # and what follows it")]
    Fragment,
    /// The URL has an address that is not on the public internet. Holds the name of the address block.
    #[error("url points to an address that is not public: {0}; use a host that is reachable from the internet")]
    Forbidden(&'static str),
    /// The host name resolves only in private networks.
    #[error("url has the host name of a private network; use a full host name that is reachable from the internet")]
    PrivateName,
}

/// A URL that may contain a secret, as those of Slack and Teams do. Prints only its host.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(Url);

impl SecretUrl {
    /// Parses a URL that was checked when it was saved. The client checks again whether it may be called.
    ///
    /// # Errors
    /// [`UrlProblem::NotAUrl`] or [`UrlProblem::NoHost`].
    pub fn parse(text: &str) -> Result<Self, UrlProblem> {
        let url = Url::parse(text).map_err(|_| UrlProblem::NotAUrl)?;
        match url.host_str() {
            Some(host) if !host.is_empty() => Ok(Self(url)),
            _ => Err(UrlProblem::NoHost),
        }
    }

    /// Returns the host, which may be shown.
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// Returns the whole URL in normal form, to seal or compare it. Never log it.
    pub fn expose(&self) -> &str {
        self.0.as_str()
    }

    pub(crate) fn url(&self) -> &Url {
        &self.0
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.host())
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretUrl({})", self.host())
    }
}

/// Checks whether a tenant may save a URL. Host names are not resolved here; their addresses are checked at every call.
///
/// # Errors
/// The first problem, and how to fix it.
pub fn check_url(text: &str, exceptions: &Exceptions) -> Result<SecretUrl, UrlProblem> {
    let text = text.trim();
    if text.len() > URL_LENGTH_MAX {
        return Err(UrlProblem::TooLong);
    }
    let url = Url::parse(text).map_err(|problem| match problem {
        url::ParseError::EmptyHost => UrlProblem::NoHost,
        _ => UrlProblem::NotAUrl,
    })?;
    check_callable(&url, exceptions)?;
    if url.fragment().is_some() {
        return Err(UrlProblem::Fragment);
    }
    if !exceptions.contains(&url) && has_private_name(&url) {
        return Err(UrlProblem::PrivateName);
    }
    Ok(SecretUrl(url))
}

/// Checks everything that can be checked before connecting: scheme, credentials, port and address literals.
pub(crate) fn check_callable(url: &Url, exceptions: &Exceptions) -> Result<(), UrlProblem> {
    if url.scheme() != "https" {
        return Err(UrlProblem::NotHttps);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UrlProblem::UserInfo);
    }
    let host = url.host().ok_or(UrlProblem::NoHost)?;
    if exceptions.contains(url) {
        return Ok(());
    }
    let literal = match host {
        Host::Ipv4(ip) => Some(IpAddr::V4(ip)),
        Host::Ipv6(ip) => Some(IpAddr::V6(ip)),
        Host::Domain(_) => None,
    };
    // Address literals do not go through the resolver, so they are checked here.
    if let Some(block) = literal.and_then(forbidden_block) {
        return Err(UrlProblem::Forbidden(block));
    }
    match url.port_or_known_default() {
        Some(443) => Ok(()),
        Some(port) => Err(UrlProblem::Port(port)),
        None => Err(UrlProblem::NoHost),
    }
}

/// Whether the URL's host name resolves only in private networks.
fn has_private_name(url: &Url) -> bool {
    let Some(name) = url.domain() else { return false };
    let name = name.trim_end_matches('.');
    let under = |suffix: &&str| name.strip_suffix(*suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    !name.contains('.') || PRIVATE_SUFFIXES.iter().any(under)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<SecretUrl, UrlProblem> {
        check_url(text, &Exceptions::default())
    }

    #[test]
    fn urls_of_real_receivers_are_accepted() {
        for text in [
            "https://hooks.slack.com/services/T0/B0/x",
            "https://a1.environment.api.powerplatform.com:443/powerautomate/automations/direct/workflows/x?sig=s",
            "https://8.8.8.8/hook",
            "https://[2600:1f18::1]/hook",
            "https://bücher.de/hook",
            "  https://hooks.acme.io/tocsin  ",
        ] {
            assert!(check(text).is_ok(), "{text}: {:?}", check(text));
        }
    }

    #[test]
    fn each_problem_is_reported_by_kind() {
        use UrlProblem::{Forbidden, Fragment, NoHost, NotAUrl, NotHttps, Port, PrivateName, TooLong, UserInfo};
        let long = format!("https://hooks.acme.io/{}", "a".repeat(2048));
        for (text, problem) in [
            ("", NotAUrl),
            ("hooks.acme.io", NotAUrl),
            ("https://", NoHost),
            (long.as_str(), TooLong),
            ("http://hooks.acme.io/", NotHttps),
            ("ftp://hooks.acme.io/", NotHttps),
            ("file:///etc/passwd", NotHttps),
            ("gopher://127.0.0.1/", NotHttps),
            ("https://user@hooks.acme.io/", UserInfo),
            ("https://user:secret@hooks.acme.io/", UserInfo),
            ("https://:secret@hooks.acme.io/", UserInfo),
            ("https://hooks.acme.io@127.0.0.1/", UserInfo),
            ("https://hooks.acme.io:8443/", Port(8443)),
            ("https://hooks.acme.io:22/", Port(22)),
            ("https://hooks.acme.io/#x", Fragment),
            ("https://127.0.0.1/", Forbidden("loopback (127.0.0.0/8)")),
            ("https://127.1/", Forbidden("loopback (127.0.0.0/8)")),
            ("https://2130706433/", Forbidden("loopback (127.0.0.0/8)")),
            ("https://0x7f000001/", Forbidden("loopback (127.0.0.0/8)")),
            ("https://0177.0.0.1/", Forbidden("loopback (127.0.0.0/8)")),
            ("https://127.0.0.1./", Forbidden("loopback (127.0.0.0/8)")),
            ("https://①②⑦.0.0.1/", Forbidden("loopback (127.0.0.0/8)")),
            ("https://0/", Forbidden("this network (0.0.0.0/8)")),
            ("https://169.254.169.254/latest/meta-data", Forbidden("instance metadata service")),
            ("https://[fd00:ec2::254]/", Forbidden("instance metadata service")),
            ("https://[::1]/", Forbidden("loopback (::1)")),
            ("https://[::]/", Forbidden("unspecified (::)")),
            ("https://[::ffff:127.0.0.1]/", Forbidden("IPv4-mapped (::ffff:0:0/96)")),
            ("https://[::ffff:7f00:1]/", Forbidden("IPv4-mapped (::ffff:0:0/96)")),
            ("https://[64:ff9b::a9fe:a9fe]/", Forbidden("NAT64 (64:ff9b::/96)")),
            ("https://[2002:7f00:1::]/", Forbidden("6to4 (2002::/16)")),
            ("https://[fe80::1]/", Forbidden("link-local (fe80::/10)")),
            ("https://127.0.0.1:8443/", Forbidden("loopback (127.0.0.0/8)")),
            ("https://localhost/", PrivateName),
            ("https://LOCALHOST./", PrivateName),
            ("https://a.localhost/", PrivateName),
            ("https://intranet/", PrivateName),
            ("https://metadata.google.internal/", PrivateName),
            ("https://printer.local/", PrivateName),
        ] {
            assert_eq!(check(text), Err(problem), "{text}");
        }
    }

    #[test]
    fn a_public_name_that_only_ends_like_a_private_one_is_accepted() {
        assert!(check("https://mylocal/").is_err());
        assert!(check("https://notlocal.com/").is_ok());
        assert!(check("https://hooks.contest/").is_ok());
    }

    #[test]
    fn exceptions_match_host_and_port_exactly() {
        let exceptions = Exceptions::parse(" 127.0.0.1:8443, localhost:9000,[::1]:8443 ,").unwrap();
        for text in ["https://127.0.0.1:8443/x", "https://localhost:9000/", "https://[::1]:8443/"] {
            assert!(check_url(text, &exceptions).is_ok(), "{text}");
        }
        for text in [
            "https://127.0.0.1/",
            "https://127.0.0.1:8444/",
            "https://127.0.0.2:8443/",
            "https://localhost:8443/",
            "https://localhost/",
            "https://localhost.:9000/",
            "http://127.0.0.1:8443/",
            "https://u@127.0.0.1:8443/",
        ] {
            assert!(check_url(text, &exceptions).is_err(), "{text}");
        }
    }

    #[test]
    fn an_exception_must_be_host_and_port() {
        assert!(Exceptions::parse("").unwrap().is_empty());
        assert!(!Exceptions::parse("hooks.acme.io:443").unwrap().is_empty());
        for (text, position) in [
            ("localhost", 1),
            ("a:1,localhost", 2),
            ("https://a:1", 1),
            ("u@a:1", 1),
            ("a:1/x", 1),
            ("a:99999", 1),
            ("[::1]", 1),
        ] {
            assert_eq!(Exceptions::parse(text), Err(ExceptionsError { position }), "{text}");
        }
    }

    #[test]
    fn a_secret_url_prints_only_its_host() {
        let url = SecretUrl::parse("https://hooks.slack.com/services/T0/B0/hunter2?sig=hunter2").unwrap();
        assert_eq!(url.to_string(), "hooks.slack.com");
        assert_eq!(format!("{url:?}"), "SecretUrl(hooks.slack.com)");
        assert!(url.expose().contains("hunter2"));
    }
}
