//! After everything: the roles of the functions compared with every call that the functions made in the suite.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail by a panic")]

use serde_json::json;
use std::fmt::Write;
use tests::Stack;
use tests::permissions::{Grant, GrantPart, RecordedCalls, denied_without, grants, not_allowed, removal};
use tests::template::{Template, root};

/// What AWS calls with a function's role, each with who does.
const CALLED_BY_AWS: [(&str, &str); 5] = [
    ("logs:CreateLogStream", "Lambda writes the function's log"),
    ("logs:PutLogEvents", "Lambda writes the function's log"),
    ("sqs:ReceiveMessage", "the mapping reads the queue"),
    ("sqs:DeleteMessage", "the mapping deletes what was handled"),
    ("sqs:GetQueueAttributes", "the mapping scales with the queue"),
];

/// Permissions that no call of the suite needs, at most: for faults and dead letters of queues that no test provokes yet. The list is to become
/// shorter.
const UNNEEDED_MAX: usize = 81;

/// The calls of the functions of all running stacks.
fn recorded(template: &Template) -> RecordedCalls {
    let variables = ["TOCSIN_OUTPUTS", "TOCSIN_OUTPUTS_CLOCK", "TOCSIN_OUTPUTS_ALONE"];
    let stacks = variables.into_iter().filter(|name| std::env::var_os(name).is_some()).map(Stack::of);
    let mut all = RecordedCalls::default();
    for recorded in stacks.map(|stack| stack.recorded(template)) {
        all.needed.extend(recorded.needed);
        all.denied.extend(recorded.denied);
    }
    assert!(all.needed.len() > 50, "the demo alone needs more than {} permissions", all.needed.len());
    all
}

#[test]
fn every_call_is_allowed_by_a_statement_as_aws_evaluates_it() {
    let template = Template::read();
    let recorded = recorded(&template);
    let denied = not_allowed(&template, &recorded);
    assert!(denied.is_empty(), "AWS would deny {} kinds of calls:\n{denied:#?}", denied.len());
    assert!(
        recorded.denied.is_empty(),
        "{} kinds of calls were denied:\n{:#?}",
        recorded.denied.len(),
        recorded.denied
    );
}

/// Writes the list to `target/permissions.txt`. Under a filter there are calls of the chosen tests only, so nothing is compared then.
#[test]
fn no_more_permissions_than_known_are_needed_by_no_call() {
    let template = Template::read();
    let recorded = recorded(&template);
    let (mut list, mut removals, mut unneeded) = (String::new(), Vec::new(), Vec::new());
    for grant in grants(&template) {
        let by_aws = called_by_aws(&grant);
        let calls = denied_without(&template, &grant, &recorded);
        match (calls.first(), by_aws) {
            (Some(call), _) => {
                writeln!(list, "{grant}\n    {call}").unwrap();
                removals.push(removal(&grant, &calls));
            }
            (None, Some(who)) => writeln!(list, "{grant}\n    {who}").unwrap(),
            (None, None) => {
                writeln!(list, "{grant}\n    NEEDED BY NO CALL OF THIS RUN").unwrap();
                unneeded.push(grant.to_string());
            }
        }
    }
    std::fs::write(root().join("target/permissions.txt"), list).unwrap();
    if std::env::var_os("TOCSIN_WHOLE_SUITE").is_some() {
        // `cargo xtask test --removals` draws from these.
        std::fs::write(root().join("target/permissions.json"), json!(removals).to_string()).unwrap();
        assert!(unneeded.len() <= UNNEEDED_MAX, "{} permissions are needed by no call:\n{unneeded:#?}", unneeded.len());
    }
}

fn called_by_aws(grant: &Grant) -> Option<&'static str> {
    let GrantPart::Action(action, _) = &grant.part else { return None };
    CALLED_BY_AWS.iter().find(|(called, _)| called == action).map(|(_, who)| *who)
}
