//! The document of the HTTP API names every route that there is, and no other.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// Routes that answer with HTML pages.
const PAGES: [&str; 9] =
    ["/status", "/console", "/unsubscribe", "/confirm", "/resubscribe", "/never", "/stop", "/read", "/r"];
const METHODS: [&str; 6] = ["get", "post", "put", "patch", "delete", "options"];

fn is_page(path: &str) -> bool {
    PAGES.iter().any(|page| path == *page || path.starts_with(&format!("{page}/")))
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// `method path` of each `.route("path", method(…).method(…))` of the functions' sources.
fn routes() -> BTreeSet<String> {
    let mut routes = BTreeSet::new();
    for function in root().join("functions").read_dir().unwrap() {
        let source = std::fs::read_to_string(function.unwrap().path().join("src/lib.rs")).unwrap();
        for call in source.split(".route(").skip(1) {
            let call = call.split(".with_state").next().unwrap();
            let (path, handlers) = call.trim_start().strip_prefix('"').unwrap().split_once('"').unwrap();
            for method in METHODS {
                // As a word of its own: `put_tenant(` is a handler.
                let named = handlers.match_indices(&format!("{method}(")).any(|(at, _)| {
                    !handlers[..at].ends_with(|letter: char| letter.is_ascii_alphanumeric() || letter == '_')
                });
                if named && !is_page(path) {
                    routes.insert(format!("{method} {path}"));
                }
            }
        }
    }
    routes
}

fn documented() -> BTreeSet<String> {
    let document = contracts::openapi::document();
    let paths = document["paths"].as_object().unwrap().iter();
    paths
        .flat_map(|(path, methods)| methods.as_object().unwrap().keys().map(move |method| format!("{method} {path}")))
        .collect()
}

#[test]
fn the_api_document_has_exactly_the_routes_of_the_template() {
    let (routes, documented) = (routes(), documented());
    assert!(routes.len() > 40, "{routes:?}");
    // A greedy route, such as `/v2/alerts/{*path}`, has every documented path that begins like it.
    let (greedy, routes): (BTreeSet<String>, BTreeSet<String>) =
        routes.into_iter().partition(|route| route.contains("{*"));
    let begins: Vec<&str> = greedy.iter().filter_map(|route| route.split("{*").next()).collect();
    let (of_greedy, documented): (BTreeSet<String>, BTreeSet<String>) = documented
        .into_iter()
        .partition(|route| !routes.contains(route) && begins.iter().any(|begin| route.starts_with(begin)));
    for begin in begins {
        assert!(of_greedy.iter().any(|route| route.starts_with(begin)), "nothing is documented of {begin}…");
    }
    let missing: Vec<_> = routes.difference(&documented).collect();
    assert!(missing.is_empty(), "shared/contracts/src/openapi.rs lacks {missing:?}");
    let invented: Vec<_> = documented.difference(&routes).collect();
    assert!(invented.is_empty(), "no function has {invented:?}");
}

#[test]
fn every_documented_route_leads_to_a_function() {
    let template = std::fs::read_to_string(root().join("template.yaml")).unwrap();
    let mut known = BTreeSet::new();
    for line in template.lines().filter(|line| line.contains("Type: Api,")) {
        let word = |name: &str| line.split(name).nth(1).unwrap().split([',', '}']).next().unwrap().trim();
        let path = line.split("Path: '").nth(1).unwrap().split('\'').next().unwrap();
        known.insert((word("Method:").to_lowercase(), path.to_owned()));
    }
    for operation in documented() {
        let (method, path) = operation.split_once(' ').unwrap();
        let leads = |pattern: &str| match pattern.strip_suffix("{proxy+}") {
            Some(head) => path.starts_with(head) && path.len() > head.len(),
            None => path == pattern,
        };
        assert!(
            known.iter().any(|(verb, pattern)| verb == method && leads(pattern)),
            "template.yaml lacks {operation}"
        );
    }
}

#[test]
fn every_status_is_documented_once_and_errors_are_problem_documents() {
    let document = contracts::openapi::document();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for operation in methods.as_object().unwrap().values() {
            let answers = operation["responses"].as_object().unwrap();
            assert!(answers.keys().any(|status| status.starts_with('2')), "{path} never succeeds");
            let refused = answers.iter().filter(|(status, _)| status.starts_with('4') && !path.starts_with("/v2/"));
            for (status, answer) in refused {
                assert_eq!(answer["$ref"], Value::from("#/components/responses/Problem"), "{path} {status}");
            }
        }
    }
}
