//! `cargo xtask simulate`: production's stories in simulated worlds; and whether the simulation finds faults that are planted into them.

use crate::process::{CommandFault, cargo, root, say};
use std::fs;
use std::path::Path;

/// How many worlds must be enough to find a planted fault.
const WORLDS_TO_FIND: u64 = 2_000;

/// A fault that is planted into a copy of the sources: in each file, the first text is replaced by the second.
struct Planted {
    /// What it does wrong.
    name: &'static str,
    edits: &'static [(&'static str, &'static str, &'static str)],
}

const CLAIM: &str = "shared/pipeline/src/deliver/claim.rs";
const OUTCOME: &str = "shared/pipeline/src/deliver/outcome.rs";
const RECORD: &str = "shared/pipeline/src/deliver/record.rs";
const STORY: &str = "shared/pipeline/src/deliver.rs";
const CLASSIFY: &str = "shared/pipeline/src/classify.rs";
const FEEDBACK: &str = "shared/pipeline/src/feedback.rs";
const CONFIRM: &str = "shared/pipeline/src/confirm.rs";
const CONTACT: &str = "shared/domain/src/contact.rs";
const ROUTE: &str = "shared/pipeline/src/route.rs";
const KEEP_PLACE: &str = "shared/pipeline/src/route/keep_place.rs";
const PLANNED_DECISIONS: &str = "shared/pipeline/src/route/planned.rs";
const TENANT: &str = "shared/pipeline/src/route/tenant.rs";
const RELEASE: &str = "shared/pipeline/src/release.rs";
const PAGE: &str = "shared/pipeline/src/release/page.rs";
const PLAN: &str = "shared/domain/src/plan.rs";
const HISTORY: &str = "shared/domain/src/plan/history.rs";

/// The planted faults.
const PLANTED: &[Planted] = &[
    Planted {
        name: "the mark before the send",
        edits: &[
            (
                CLAIM,
                "(None, _) => Deliver::Send(Send::new(job, turn)),",
                "(None, _) => super::outcome::accepted(job, None, turn.now, turn),",
            ),
            (OUTCOME, "\nfn accepted(", "\npub(super) fn accepted("),
            (
                OUTCOME,
                "Ok(Accepted { provider_id }) => accepted(job, provider_id, started, turn),",
                "Ok(Accepted { .. }) => Deliver::End(Verdict::Delete),",
            ),
            (
                RECORD,
                "Deliver::Settle(Settle { job, at: self.at, provider_id })",
                "{ let _ = provider_id; Deliver::Send(super::Send::new(job, turn)) }",
            ),
        ],
    },
    Planted {
        name: "a claim without a lease",
        edits: &[(
            CLAIM,
            "lease_until_ms: lease_until.as_millisecond()",
            "lease_until_ms: lease_until.as_millisecond() * 0",
        )],
    },
    Planted {
        name: "a lease that is too short",
        edits: &[(STORY, "SignedDuration::from_secs(6)", "SignedDuration::from_secs(-6)")],
    },
    Planted {
        name: "a retry that is lost between its mark and its message",
        edits: &[(
            CLAIM,
            "let ClaimRefusal::AttemptOver { attempts, next_at_ms } = refusal else",
            "let ClaimRefusal::AttemptOver { attempts, next_at_ms } = (ClaimRefusal::Superseded { by: 0 }) else",
        )],
    },
    Planted {
        name: "a message that is deleted while another invocation has the lease",
        edits: &[(
            CLAIM,
            "Some(Verdict::Return { pause: Duration::from_millis(left), code: \"leased\" })",
            "{ let _ = left; Some(Verdict::Delete) }",
        )],
    },
    Planted {
        name: "a list that is sent again although a part of it is marked",
        edits: &[(CLAIM, "|token| accepted.contains(token)", "|token| accepted.contains(token) && token.is_empty()")],
    },
    Planted {
        name: "a retry before its time",
        edits: &[(STORY, ".div_euclid(1_000).max(0)", ".div_euclid(1_000).max(0) / 8")],
    },
    Planted {
        name: "a critical alert that is given up in silence",
        edits: &[(
            OUTCOME,
            "if notices.is_empty() {\n            write\n        } else {\n            \
             Deliver::Notify(Notify { notices, then: Box::new(write), unsent: None })\n        }",
            "drop(notices);\n        write",
        )],
    },
    Planted {
        name: "a deferral whose row knows another time than its due entry",
        edits: &[(
            RECORD,
            "Self::Defer { reason, due } => {\n                RowWrite::Defer",
            "Self::Defer { reason, due } => {\n                let due = &domain::due::ScheduledDelivery { at, ..(**due).clone() };\n                RowWrite::Defer",
        )],
    },
    Planted {
        name: "a fault of AWS that ends the story",
        edits: &[(
            "shared/pipeline/src/turn.rs",
            "Fault::Unavailable { code } => Self::Fault { code },",
            "Fault::Unavailable { .. } => Self::Delete,",
        )],
    },
    Planted {
        name: "a plan that is recomputed instead of read",
        edits: &[
            (
                TENANT,
                "let last_planned = last_planned(chunks, &earlier.plans, run.job.update);",
                "let last_planned = last_planned(chunks, &[], run.job.update);",
            ),
            (
                ROUTE,
                "let (later, now) = work.split(&run, stored.into_iter().flat_map(|plan| plan.decisions).collect());",
                "drop(stored);\n                    let fresh = work.plans.iter().flat_map(|plan| plan.decisions.clone()).collect();\n                    let (later, now) = work.split(&run, fresh);",
            ),
        ],
    },
    Planted {
        name: "a crash between a plan and its messages",
        edits: &[(
            PLANNED_DECISIONS,
            "let enqueue_stored = redelivered || fresh.is_empty();",
            "let enqueue_stored = redelivered && !redelivered;",
        )],
    },
    Planted {
        name: "a crash between an event's record and its jobs",
        edits: &[(
            CLASSIFY,
            "if record.accepted_at == job.message.accepted_at => emit(&record),",
            "if record.accepted_at == job.message.accepted_at => Classify::End(Verdict::Delete),",
        )],
    },
    Planted {
        name: "a lost race that is taken for done",
        edits: &[(
            CLASSIFY,
            "if job.lost_races < LOST_RACES_MAX {",
            "if job.lost_races == 1 {\n                    return Classify::End(Verdict::Delete);\n                }\n                if job.lost_races < LOST_RACES_MAX {",
        )],
    },
    Planted {
        name: "retries of a quarter of an hour at night",
        edits: &[(
            OUTCOME,
            "let long = seconds_until(at, self.at) > i64::from(queue_delay_max(member.channel));",
            "let long = seconds_until(at, self.at) > i64::from(queue_delay_max(member.channel)).max(900);",
        )],
    },
    Planted {
        name: "a missed window that nobody is notified of",
        edits: &[(
            OUTCOME,
            "let late = window_missed_notice(member, &self.failed.cause, at, self.at);",
            "let late = window_missed_notice(member, &self.failed.cause, at, self.at).filter(|_| false);",
        )],
    },
    Planted {
        name: "a digest that two runs make",
        edits: &[(
            RELEASE,
            "run.current.sends_batches = Some(answer.unwrap_or(false));",
            "run.current.sends_batches = Some(answer.is_ok());",
        )],
    },
    Planted {
        name: "a due entry that is deleted before its send",
        edits: &[(
            PAGE,
            "if self.messages.is_empty() { self.end_rows(turn) } else { Release::Enqueue(EnqueueDue { work: self }) }",
            "let items: Vec<_> = self.messages.iter().flat_map(|one| one.items.clone()).collect();\n        \
             if items.is_empty() { self.end_rows(turn) } else { delete(items, Release::Enqueue(EnqueueDue { work: self })) }",
        )],
    },
    Planted {
        name: "an end that goes to whoever was never notified",
        edits: &[(PLAN, "if resolves {\n        return skip(Reason::OpenNotTold);\n    }", "")],
    },
    Planted {
        name: "an alert that fires again and is swallowed",
        edits: &[(
            CLASSIFY,
            "(Ok(Some(record)), None) if job.repeats_state() => {",
            "(Ok(Some(record)), None) if job.repeats_state() && job.lost_races > 9 => {",
        )],
    },
    Planted {
        name: "a row that nobody reads",
        edits: &[(
            HISTORY,
            "ThreadState::read(last_sent, known.rows.get(&thread))",
            "ThreadState::read(last_sent, None)",
        )],
    },
    Planted {
        name: "a held message on its queue that counts as waiting",
        edits: &[(
            PAGE,
            "if places.is_empty() { work.sort(turn) } else { Release::Queued(MarkQueued { work, places }) }",
            "{\n            drop(places);\n            work.sort(turn)\n        }",
        )],
    },
    Planted {
        name: "a resolve that quiet hours hold",
        edits: &[(
            "shared/pipeline/src/release/decide.rs",
            "quiet_hours_apply: !notified_resolve && !due.resend_requested,",
            "quiet_hours_apply: notified_resolve && due.resend_requested,",
        )],
    },
    Planted {
        name: "a suppression that is written before its notice",
        edits: &[
            (
                FEEDBACK,
                "Feedback::Notice(SendNotice { suppressing, notice })",
                "Feedback::Suppress(SuppressContact { suppressing, notice: Some(notice) })",
            ),
            (
                FEEDBACK,
                "Ok(()) => Feedback::Suppress(SuppressContact { suppressing: self.suppressing }),",
                "Ok(()) => Feedback::End(Verdict::Delete),",
            ),
            (
                FEEDBACK,
                "pub struct SuppressContact {\n    suppressing: Suppressing,",
                "pub struct SuppressContact {\n    suppressing: Suppressing,\n    notice: Option<Box<IncidentReceived>>,",
            ),
            (
                FEEDBACK,
                "    pub fn answered(self, answer: Answer<()>, turn: &mut Turn) -> Feedback {\n        if let Err(fault) = answer {\n            return Feedback::End(fault.into());\n        }\n",
                "    pub fn answered(self, answer: Answer<()>, turn: &mut Turn) -> Feedback {\n        if let Err(fault) = answer {\n            return Feedback::End(fault.into());\n        }\n        if let Some(notice) = self.notice {\n            return Feedback::Notice(SendNotice { suppressing: self.suppressing, notice });\n        }\n",
            ),
        ],
    },
    Planted {
        name: "a second bounce whose notice counts as the first one's",
        edits: &[(FEEDBACK, "reason.as_str(), &recipient.version.to_string()]", "reason.as_str()]")],
    },
    Planted {
        name: "a suppression of an address that was never reported",
        edits: &[(
            CONTACT,
            "applies_to_current_contact(tenant, recipient, self.suppression.reason, self.contact.as_deref())\n            && recipient",
            "applies_to_current_contact(tenant, recipient, self.suppression.reason, None)\n            && recipient",
        )],
    },
    Planted {
        name: "a bounce that silences one tenant only",
        edits: &[(
            FEEDBACK,
            "address.filter(|_| suppresses_addresses(reason))",
            "address.filter(|_| !suppresses_addresses(reason))",
        )],
    },
    Planted {
        name: "a report that is recorded on one row of its digest",
        edits: &[(FEEDBACK, "rest: rest.collect() })", "rest: rest.take(0).collect() })")],
    },
    Planted {
        name: "a report before its message is known, that is ignored",
        edits: &[(FEEDBACK, "if turn.receives < LOOKUPS_MAX {", "if turn.receives < 1 {")],
    },
    Planted {
        name: "a refusing contact that is forgotten when a queue is unavailable",
        edits: &[(
            OUTCOME,
            "Err(fault) => ReleaseClaims::then(self.failure.job, Deliver::End(fault.into())),",
            "Err(_) => failed_attempt(self.failure, turn),",
        )],
    },
    Planted {
        name: "a throttled question that counts as sent",
        edits: &[(
            CONFIRM,
            "Confirm::End(Verdict::Return { pause, code: \"throttled\" })",
            "{\n                    let _ = pause;\n                    Confirm::End(Verdict::Delete)\n                }",
        )],
    },
    Planted {
        name: "a question that is sent again after it was accepted",
        edits: &[(
            CONFIRM,
            "Confirm::End(Verdict::Delete)\n    }\n}\n\nimpl Refuse",
            "Confirm::End(Verdict::Return { pause: Duration::from_secs(5), code: \"again\" })\n    }\n}\n\nimpl Refuse",
        )],
    },
    Planted {
        name: "a panic in the story of a report",
        edits: &[(
            FEEDBACK,
            "    let Suppression { reason, at } = suppressing.silenced.suppression;\n",
            "    let Suppression { reason, at } = suppressing.silenced.suppression;\n    assert!(reason != Reason::SuppressedComplaint);\n",
        )],
    },
    Planted {
        name: "a panic in the story of a question",
        edits: &[(
            CONFIRM,
            "Err(SendFailure::Throttled) => {\n",
            "Err(SendFailure::Throttled) => {\n                assert!(turn.receives < 2);\n",
        )],
    },
    Planted {
        name: "a panic in the story of an event",
        edits: &[(
            CLASSIFY,
            "job.lost_races += 1;",
            "job.lost_races += 1;\n                assert!(job.lost_races < 2);",
        )],
    },
    Planted {
        name: "a panic in the story of a routing job",
        edits: &[(
            KEEP_PLACE,
            "    if jobs.is_empty() {\n        return then;",
            "    assert!(jobs.is_empty());\n    if jobs.is_empty() {\n        return then;",
        )],
    },
    Planted {
        name: "a panic in the story of a release",
        edits: &[(
            RELEASE,
            "run.current.sends_batches = Some(answer.unwrap_or(false));",
            "assert!(answer != Ok(false));\n        run.current.sends_batches = Some(answer.unwrap_or(false));",
        )],
    },
    Planted {
        name: "a panic in the story of a delivery",
        edits: &[(
            CLAIM,
            "fn limit(job: Job, before: EarlierClaim, turn: &mut Turn) -> Deliver {",
            "fn limit(job: Job, before: EarlierClaim, turn: &mut Turn) -> Deliver {\n    assert!(before.may_have_sent.is_none());",
        )],
    },
    Planted {
        name: "a tenant that cannot be read and is forgotten",
        edits: &[(
            KEEP_PLACE,
            "    if jobs.is_empty() {\n        return then;",
            "    if jobs.len() < 1_000 {\n        return then;",
        )],
    },
    Planted {
        name: "an interrupted job that goes on behind the page it was busy with",
        edits: &[(
            ROUTE,
            "let next = advance(run.place.clone(), page.next);",
            "let next = advance(run.place.clone(), page.next);\n        run.place = next.clone();",
        )],
    },
    Planted {
        name: "an entry that is deleted although its attempt was made by nobody who goes on",
        edits: &[(
            PAGE,
            "WriteAnswer::Attempted(next) => work.later.push(next.replace(later.item)),",
            "WriteAnswer::Attempted(_) => done.push(later.item),",
        )],
    },
    Planted {
        name: "an update that was sent by somebody who died and counts as unsent",
        edits: &[(
            "shared/domain/src/delivery/write.rs",
            "if self.has_unsettled_claim() { self.latest } else { self.tried }",
            "self.tried",
        )],
    },
];

/// `cargo xtask simulate`
pub(crate) fn run(seeds: u64, seed: Option<u64>) -> Result<(), CommandFault> {
    let mut command = cargo();
    command.args(["run", "--quiet", "--package", "simulation", "--"]);
    match seed {
        Some(seed) => command.args(["--seed", &seed.to_string()]),
        None => command.args(["--seeds", &seeds.to_string()]),
    };
    if command.status()?.success() {
        return Ok(());
    }
    Err(CommandFault::new("a simulated world breaks a rule", "The last lines above say which, and how to replay it."))
}

/// `cargo xtask simulate --faults`: plants each fault whose name contains `name` into a copy of the sources, and expects the simulation to
/// find it.
pub(crate) fn find_planted(name: &str) -> Result<(), CommandFault> {
    let (tree, build) = (root().join("target/faults/tree"), root().join("target/faults/build"));
    say("▸ copying the sources to target/faults");
    if tree.exists() {
        fs::remove_dir_all(&tree)?;
    }
    copy(&root(), &tree)?;
    let (mut missed, mut found) = (Vec::new(), 0);
    for planted in PLANTED.iter().filter(|planted| planted.name.contains(name)) {
        let mut originals = Vec::new();
        for (file, from, to) in planted.edits {
            let path = tree.join(file);
            let text = fs::read_to_string(&path)?;
            if text.matches(from).count() != 1 {
                let what = format!("{file} does not contain exactly once: {from}");
                return Err(CommandFault::new(what, "Correct the fault in infra/xtask/src/simulate.rs."));
            }
            fs::write(&path, text.replacen(from, to, 1))?;
            originals.push((path, text));
        }
        let mut command = cargo();
        command.current_dir(&tree).env("CARGO_TARGET_DIR", &build);
        let built = command.args(["build", "--quiet", "--package", "simulation"]).status()?;
        if !built.success() {
            let what = format!("the sources with the fault \"{}\" do not compile", planted.name);
            return Err(CommandFault::new(what, "Correct the fault in infra/xtask/src/simulate.rs."));
        }
        let program = build.join("debug/simulate");
        let output = std::process::Command::new(program).args(["--seeds", &WORLDS_TO_FIND.to_string()]).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let finding = said.lines().rev().find(|line| line.starts_with("Seed ") || line.contains("panicked"));
        match finding {
            Some(finding) if !output.status.success() => {
                found += 1;
                say(&format!("✓ {}\n    {finding}", planted.name));
            }
            _ => {
                say(&format!("✗ {} was not found in {WORLDS_TO_FIND} worlds", planted.name));
                missed.push(planted.name);
            }
        }
        // In reverse: a file that is edited twice gets its first text back.
        for (path, text) in originals.iter().rev() {
            fs::write(path, text)?;
        }
    }
    if missed.is_empty() {
        say(&format!("All {found} planted faults were found, each within {WORLDS_TO_FIND} worlds."));
        return Ok(());
    }
    Err(CommandFault::new(
        format!("{} planted faults were not found", missed.len()),
        "Add a check to tests/simulation/src/check.rs that finds them.",
    ))
}

/// Copies the sources, without what is built from them.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if ["target", ".git", "node_modules"].iter().any(|left_out| name == *left_out) {
            continue;
        }
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &to.join(&name))?,
            false => fs::copy(entry.path(), to.join(&name)).map(drop)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_planted_fault_still_has_its_place_in_the_sources() {
        let missing = PLANTED.iter().flat_map(|planted| planted.edits.iter().map(|edit| (planted.name, edit)));
        let missing = missing.filter(|(_, (file, from, _))| {
            !fs::read_to_string(root().join(file)).is_ok_and(|text| text.matches(from).count() == 1)
        });
        let missing: Vec<_> = missing.map(|(name, (file, from, _))| format!("{name}: {file}: {from}")).collect();
        assert!(missing.is_empty(), "{missing:#?}");
    }
}
