//! The documents in README.md, docs/ and the other pages at the top: links lead somewhere, and shell commands are valid.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by a panic"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tests::documents::{fenced_blocks, without_code};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Returns every Markdown file at the top, in docs/ and in infra/.
fn pages() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("docs"), root().join("infra")];
    let top = std::fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path());
    found.extend(top.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    assert!(found.len() > 20, "{found:?}");
    found
}

/// Returns the anchors of a page's headings, as GitHub makes them: lower case, punctuation removed, spaces as hyphens, and a number for a
/// heading that occurs again.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in without_code(text).lines().filter(|line| line.starts_with('#')) {
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        let slug: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let mut anchor = slug.clone();
        for number in 1.. {
            if found.insert(anchor.clone()) {
                break;
            }
            anchor = format!("{slug}-{number}");
        }
    }
    found
}

/// Returns the targets of all Markdown links of a page.
fn links(text: &str) -> Vec<String> {
    let text = without_code(text);
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.map(str::to_owned).collect()
}

/// Returns the texts that begin after each `begin` and end before the next `end`.
fn between<'a>(text: &'a str, begin: &str, end: char) -> Vec<&'a str> {
    text.split(begin).skip(1).filter_map(|rest| rest.split(end).next()).collect()
}

#[test]
fn operate_md_explains_every_metric_and_no_other() {
    let mut counted = BTreeSet::new();
    let mut folders = vec![root().join("functions"), root().join("shared")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text: String = std::fs::read_to_string(&path).unwrap().split_whitespace().collect();
                // A name may be chosen by an `if` among the arguments, or be a constant.
                for place in ["metrics::count(", "metrics::count_by(", "metrics::observe_ms(", "_METRIC:&str="] {
                    for arguments in between(&text, place, if place.ends_with('=') { ';' } else { ')' }) {
                        let names = arguments.split('"').skip(1).step_by(2);
                        let names = names.filter(|name| name.starts_with(|first: char| first.is_ascii_uppercase()));
                        counted.extend(names.map(str::to_owned));
                    }
                }
            }
        }
    }
    let page = std::fs::read_to_string(root().join("docs/operate.md")).unwrap();
    let section = page.split("## Metrics").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('|').next());
    let explained: BTreeSet<String> = rows
        .flat_map(|cell| cell.split('`').filter(|name| name.len() > 2).map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let in_code = |name: &String| counted.contains(name);
    let unknown: Vec<&String> = explained.iter().filter(|name| !in_code(name)).collect();
    let missing: Vec<&String> = counted.iter().filter(|name| !explained.contains(*name)).collect();
    assert!(counted.len() > 25, "{counted:?}");
    assert_eq!((missing, unknown), (vec![], vec![]));
}

#[test]
fn every_link_between_documents_leads_to_a_file_and_a_heading() {
    let mut broken = Vec::new();
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        for link in links(&text).into_iter().filter(|link| !link.contains("://") && !link.starts_with("mailto:")) {
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            let found = target.exists() && (anchor.is_empty() || has_anchor(&target, anchor));
            if !found {
                broken.push(format!("{}: {link}", page.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

fn has_anchor(page: &Path, anchor: &str) -> bool {
    std::fs::read_to_string(page).is_ok_and(|text| anchors(&text).contains(anchor))
}

#[test]
fn every_shell_command_in_the_documents_is_valid_shell() {
    let mut checked = 0;
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        for block in fenced_blocks(&text, "sh").into_iter().chain(fenced_blocks(&text, "sh no-run")) {
            // Words in capitals and angle brackets stand for the reader's own values.
            let mut bash = Command::new("bash").args(["-n", "-c", &block]).stderr(Stdio::piped()).spawn().unwrap();
            let valid = bash.wait().unwrap().success();
            assert!(valid, "{} has a command that is not valid shell:\n{block}", page.display());
            checked += 1;
        }
    }
    assert!(checked > 20, "{checked}");
}

/// Returns the text of every Rust file below a folder of the workspace.
fn sources(folder: &str) -> String {
    let mut text = String::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text.push_str(&std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    text
}

#[test]
fn every_test_that_architecture_names_exists() {
    let all: String = ["functions", "shared", "tests"].map(sources).concat();
    // Names of tests are sentences: at least five words in snake case.
    let is_sentence = |name: &&str| {
        name.matches('_').count() >= 4 && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    for page in ["ARCHITECTURE.md", "docs/threat-model.md"] {
        let text = std::fs::read_to_string(root().join(page)).unwrap();
        let named: BTreeSet<&str> = text.split('`').skip(1).step_by(2).filter(is_sentence).collect();
        assert!(named.len() > 20, "{page}: {named:?}");
        let missing: Vec<&&str> = named.iter().filter(|name| !all.contains(&format!("fn {name}("))).collect();
        assert!(missing.is_empty(), "{page} names tests that do not exist: {missing:?}");
    }
}

#[test]
fn the_readme_is_short_and_begins_with_the_command_to_type() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.lines().count() <= 150, "README.md has {} lines", readme.lines().count());
    let first = readme.lines().position(|line| line.starts_with("cargo xtask up")).unwrap();
    assert!(first < 30, "the first command is on line {}", first + 1);
}

#[test]
fn every_source_file_that_a_document_names_exists() {
    let mut missing = Vec::new();
    let mut named = 0;
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        for path in text.split('`').filter(|code| !code.contains(char::is_whitespace)) {
            let of_ours = ["functions/", "shared/", "infra/", "tests/"].iter().any(|folder| path.starts_with(folder));
            let placeholder = path.contains(|c: char| "<>*{}…".contains(c));
            if of_ours && !placeholder && path.contains('.') {
                named += 1;
                if !root().join(path).exists() {
                    missing.push(format!("{}: {path}", page.display()));
                }
            }
        }
    }
    assert!(named > 20, "{named}");
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn the_diagrams_of_the_stories_are_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let written = std::fs::read_to_string(root.join("docs/stories.md")).unwrap();
    let read = tests::stories::document(&root.join("shared/pipeline/src"));
    let command = "cargo run -q -p tests --example stories > docs/stories.md";
    assert!(written == read, "docs/stories.md is outdated; run: {command}");
}
