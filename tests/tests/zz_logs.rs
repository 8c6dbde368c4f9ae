//! After everything: no log holds a secret, an address, a number, a URL of a receiver, or the words of an alert.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail by a panic")]

use std::collections::{BTreeMap, BTreeSet};
use tests::{BODY_MARK, stack};

/// Whether the text holds something like `name@host.test`; every address of the tests and of the demo ends so.
fn address(text: &str) -> bool {
    text.match_indices(".test").any(|(at, _)| {
        let before = &text[..at];
        let begin =
            before.rfind(|c: char| !(c.is_ascii_alphanumeric() || "@._+-".contains(c))).map_or(0, |begin| begin + 1);
        // Text is cut at character boundaries: what is looked for is ASCII.
        before.get(begin..).is_some_and(|word| word.contains('@'))
    })
}

#[test]
fn no_log_holds_a_secret_an_address_a_number_a_url_or_a_body() {
    let stack = stack!();
    let events = stack.aws(&["logs"]);
    let events = events.as_array().unwrap();
    let groups: BTreeSet<&str> = events.iter().filter_map(|event| event["group"].as_str()).collect();
    assert!(groups.len() >= 6, "the functions' log groups are there: {groups:?}");
    assert!(events.len() > 100, "only {} lines", events.len());
    let receivers = stack.text("/receivers_url").trim_start_matches("https://").to_owned();
    let mut forbidden = stack.secrets();
    forbidden.extend(["whsec_".to_owned(), BODY_MARK.to_owned(), receivers, stack.monitor(), stack.admin()]);
    for tenant in ["acme", "globex", "initech"] {
        forbidden.push(stack.text(&format!("/tokens/tenant_admin/{tenant}")));
        for place in 0..4 {
            forbidden.push(stack.text(&format!("/demo/{tenant}/recipients/{place}/email")));
            forbidden.push(stack.text(&format!("/demo/{tenant}/recipients/{place}/phone")));
        }
    }
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for event in events {
        let (group, line) =
            (event["group"].as_str().unwrap_or_default(), event["message"].as_str().unwrap_or_default());
        let mut note = |what: &str| {
            found.entry(format!("{group}: {what}")).or_insert_with(|| line.to_owned());
        };
        if address(line) {
            note("an address");
        }
        for text in forbidden.iter().filter(|text| line.contains(text.as_str())) {
            note(text);
        }
    }
    assert!(found.is_empty(), "{} kinds of leaks, each with a line:\n{found:#?}", found.len());
}
