//! Tests of the HTML pages.

use super::overview::Banner;
use super::*;
use domain::ids::IncidentId;
use domain::vocabulary::{Indicator, Kind, Phase, Severity, Status};
use store::public::PublicIncidents;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn public(id: &str, status: Status, severity: Severity, began: &str, resolved: Option<&str>) -> PublishedIncident {
    PublishedIncident {
        id: IncidentId::new(id),
        title: format!("Title of {id}"),
        kind: Kind::Incident,
        status,
        severity,
        components: vec!["voice".into()],
        regions: vec!["ap-south-1".into()],
        started_at: at(began),
        updated_at: at(resolved.unwrap_or(began)),
        resolved_at: resolved.map(at),
        maintenance: None,
        covered_by: None,
    }
}

fn listed(incident: PublishedIncident, messages: &[&str]) -> IncidentTimeline {
    let timeline = messages.iter().zip((1..=9).rev()).map(|(message, number)| PublishedUpdate {
        opened_at: None,
        number,
        at: incident.updated_at,
        status: incident.status,
        message: (*message).to_owned(),
    });
    IncidentTimeline { timeline: timeline.collect(), incident, truncated: false }
}

fn catalogue() -> Catalogue {
    Catalogue::embedded().unwrap()
}

fn overview(listed: &[IncidentTimeline], over: &[PublishedIncident]) -> String {
    overview_since(None, listed, over)
}

fn overview_since(known_from: Option<&str>, listed: &[IncidentTimeline], over: &[PublishedIncident]) -> String {
    let incidents = listed.iter().map(|listed| listed.incident.clone()).chain(over.iter().cloned()).collect();
    let all = PublicIncidents { incidents, complete_since: known_from.map(at) };
    let sorted = OverviewIncidents { current: Vec::new(), omitted_count: 0, past: over.to_vec() };
    Overview::of(&catalogue(), &all, listed.to_vec(), sorted, SINCE, at(NOW)).render(&view("status")).unwrap()
}

/// The first day of the history, before all of it.
const SINCE: Option<jiff::civil::Date> = Some(jiff::civil::date(2025, 1, 1));

static BRAND: std::sync::LazyLock<Brand> = std::sync::LazyLock::new(Brand::default);

fn view(home: &str) -> View<'static> {
    View::new(home.to_owned(), &BRAND, &ViewQuery::default())
}

const NOW: &str = "2026-11-23T12:00:00Z";

#[test]
fn open_incidents_stay_and_ended_ones_leave_after_two_weeks() {
    let all = vec![
        public("old", Status::Investigating, Severity::Info, "2026-01-01T00:00:00Z", None),
        public("new", Status::Monitoring, Severity::Info, "2026-11-23T00:00:00Z", None),
        public("worst", Status::Monitoring, Severity::Critical, "2026-11-01T00:00:00Z", None),
        public("edge", Status::Resolved, Severity::Info, "2026-11-01T00:00:00Z", Some("2026-11-09T12:00:00Z")),
        public("gone", Status::Resolved, Severity::Info, "2026-11-01T00:00:00Z", Some("2026-11-09T11:59:59Z")),
        public("late", Status::Resolved, Severity::Info, "2026-10-01T00:00:00Z", Some("2026-11-20T00:00:00Z")),
    ];
    let OverviewIncidents { current: shown, past: over, .. } = sort_for_overview(&all, at(NOW));
    let names = |list: Vec<PublishedIncident>| list.into_iter().map(|i| i.id.as_str().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(shown), ["inc_worst", "inc_new", "inc_old"]);
    assert_eq!(names(over), ["inc_late", "inc_edge"]);
}

#[test]
fn the_worst_of_very_many_open_incidents_are_listed_and_the_others_counted() {
    let named = |n: usize| public(&format!("n{n}"), Status::Identified, Severity::Error, NOW, None);
    let mut all: Vec<PublishedIncident> = (0..crate::PAST_INCIDENTS_READ).map(named).collect();
    all.push(public("old", Status::Identified, Severity::Critical, "2026-01-01T00:00:00Z", None));
    all.push(PublishedIncident {
        kind: Kind::Maintenance,
        ..public("work", Status::Investigating, Severity::Info, NOW, None)
    });
    let sorted = sort_for_overview(&all, at(NOW));
    assert_eq!((sorted.current.len(), sorted.omitted_count), (crate::PAST_INCIDENTS_READ + 1, 1));
    assert_eq!(sorted.current.first().unwrap().id.as_str(), "inc_old", "the oldest is the worst");
    assert_eq!(sorted.current.last().unwrap().id.as_str(), "inc_work");
    let listed: Vec<IncidentTimeline> = sorted.current.iter().map(|shown| listed(shown.clone(), &[])).collect();
    let all = PublicIncidents { incidents: all, complete_since: None };
    let html = Overview::of(&catalogue(), &all, listed, sorted, SINCE, at(NOW)).render(&view("status")).unwrap();
    for part in ["1001 open incidents.", "1 less severe open incident is not listed", "Major service disruption"] {
        assert!(html.contains(part), "{part}");
    }
}

#[test]
fn every_text_is_escaped() {
    let mut evil = public("evil", Status::Investigating, Severity::Critical, NOW, None);
    evil.title = "</title><script>alert(1)</script>".into();
    evil.components = vec!["<b>".into()];
    evil.regions = vec!["\" onmouseover=\"x".into()];
    let over = PublishedIncident { status: Status::Resolved, resolved_at: Some(at(NOW)), ..evil.clone() };
    let evil = listed(evil, &["<img src=x onerror=alert(1)>"]);
    for html in [
        overview(std::slice::from_ref(&evil), &[over]),
        render_incident(&view("../../status"), &evil, &[], &catalogue(), at(NOW)).unwrap(),
    ] {
        for raw in ["<script", "<img", "<b>", "\" onmouseover"] {
            assert!(!html.contains(raw), "{raw} in {html}");
        }
        assert!(html.contains("&#60;script&#62;") || html.contains("&lt;script&gt;"), "{html}");
    }
}

#[test]
fn the_worst_open_incident_names_the_state() {
    for (worst, title) in [
        (Indicator::None, "All systems operational"),
        (Indicator::Maintenance, "Maintenance in progress"),
        (Indicator::Minor, "Degraded service"),
        (Indicator::Major, "Service disruption"),
        (Indicator::Critical, "Major service disruption"),
    ] {
        assert_eq!(Banner::of(worst, 0, 0).title, title);
    }
    assert_eq!(Banner::of(Indicator::None, 0, 1).title, "Service notice");
    let open = [
        listed(public("a", Status::Monitoring, Severity::Warning, NOW, None), &["a"]),
        listed(public("b", Status::Identified, Severity::Error, NOW, None), &["b"]),
    ];
    let html = overview(&open, &[]);
    assert!(html.contains("Service disruption") && html.contains("2 open incidents."));
    let calm = overview(&[], &[]);
    assert!(calm.contains("All systems operational") && !calm.contains("Open incidents"));
}

#[test]
fn components_have_their_state_their_regions_and_ninety_days() {
    let now = listed(public("a", Status::Identified, Severity::Error, NOW, None), &["a"]);
    let then = public("b", Status::Resolved, Severity::Critical, "2026-11-01T00:00:00Z", Some("2026-11-02T00:00:00Z"));
    let html = overview(&[now], &[then]);
    for part in [
        "Voice calls",
        "Partial outage",
        "Mumbai: partial outage",
        "Incidents on 3 days in the last 90 days, most recently 23 Nov 2026: partial outage",
        "<title>2 Nov 2026: major outage</title>",
        "class=\"bad\" x=\"335\"",
        "98.88 % uptime in the last 90 days",
        "100 % uptime in the last 90 days",
        "Billing",
    ] {
        assert!(html.contains(part), "{part} in {html}");
    }
    assert!(!html.contains("class=\"unknown\""));
    let html = overview_since(Some("2026-11-20T00:00:00Z"), &[], &[]);
    assert!(
        html.contains("class=\"unknown\" width=\"430\""),
        "days before the incidents that were read are unknown: {html}"
    );
    assert!(html.contains("100 % uptime in the last 4 days") && html.contains("No incidents in the last 4 days"));
}

#[test]
fn days_before_the_first_data_are_gray() {
    let page = |all: Vec<PublishedIncident>, since| {
        let all = PublicIncidents { incidents: all, complete_since: None };
        let sorted = sort_for_overview(&all.incidents, at(NOW));
        Overview::of(&catalogue(), &all, Vec::new(), sorted, since, at(NOW)).render(&view("status")).unwrap()
    };
    let html = page(Vec::new(), None);
    assert!(html.contains("class=\"unknown\" width=\"445\"") && html.contains("100 % uptime today"), "{html}");
    let first = public("a", Status::Resolved, Severity::Error, "2026-11-14T08:00:00Z", Some("2026-11-14T09:00:00Z"));
    let html = page(vec![first], None);
    assert!(html.contains("class=\"unknown\" width=\"400\"") && html.contains("in the last 10 days"), "{html}");
    assert!(!page(Vec::new(), SINCE).contains("class=\"unknown\""));
}

#[test]
fn the_page_has_the_name_logo_and_zone_that_were_chosen() {
    let brand = Brand { name: "Acme <status>".into(), logo: Some("https://cdn.example.com/logo.svg".into()) };
    let query = ViewQuery { zone: "Asia/Kolkata".into(), refresh: "off".into() };
    let view = View::new("status".into(), &brand, &query);
    let over = public("x", Status::Resolved, Severity::Error, "2026-11-20T08:00:00Z", Some("2026-11-20T09:24:00Z"));
    let all = PublicIncidents { incidents: vec![over], complete_since: None };
    let sorted = sort_for_overview(&all.incidents, at(NOW));
    let html = Overview::of(&catalogue(), &all, Vec::new(), sorted, None, at(NOW)).render(&view).unwrap();
    for part in [
        "<img class=\"logo\" src=\"https://cdn.example.com/logo.svg\" alt=\"\"",
        "Acme &#60;status&#62;</h1>",
        "20 Nov 2026, 14:54 IST (09:24 UTC)",
        "<option selected>Asia/Kolkata</option>",
        "href=\"status/incidents/inc_x?zone=Asia/Kolkata&#38;refresh=off\"",
        "Reload every minute",
    ] {
        assert!(html.contains(part), "{part} in {html}");
    }
}

#[test]
fn maintenance_and_notices_have_sections_of_their_own() {
    let planned = |phase| domain::maintenance::MaintenanceSchedule {
        phase,
        from: at("2026-11-24T22:00:00Z"),
        until: Some(at("2026-11-25T02:00:00Z")),
    };
    let work = |phase, status| PublishedIncident {
        kind: Kind::Maintenance,
        maintenance: Some(planned(phase)),
        ..public("work", status, Severity::Warning, NOW, None)
    };
    let notice = PublishedIncident {
        kind: Kind::Advisory,
        ..public("say", Status::Investigating, Severity::Warning, NOW, None)
    };
    let html =
        overview(&[listed(work(Phase::Scheduled, Status::Investigating), &["w"]), listed(notice.clone(), &["n"])], &[]);
    for part in [
        "Service notice",
        "No open incidents.",
        "<h2 id=\"upcoming\">Upcoming maintenance",
        "Starts <time",
        ", ends <time",
        "<h2 id=\"notices\">Notices",
    ] {
        assert!(html.contains(part), "{part} in {html}");
    }
    assert!(!html.contains("Open incidents") && !html.contains("Severity"), "{html}");
    let html = overview(&[listed(work(Phase::InProgress, Status::Identified), &["w"])], &[]);
    assert!(html.contains("<h2 id=\"work\">Maintenance in progress") && html.contains("Under maintenance"), "{html}");
    assert!(!html.contains("Upcoming maintenance"), "{html}");
    let off = PublishedIncident { resolved_at: Some(at(NOW)), ..work(Phase::Completed, Status::Resolved) };
    let html = overview(&[], std::slice::from_ref(&off));
    assert!(html.contains("Canceled <time datetime=\"2026-11-23T12:00:00Z\">") && !html.contains(" after "), "{html}");
    let html = render_incident(&view("../../status"), &listed(off, &["w"]), &[], &catalogue(), at(NOW)).unwrap();
    assert!(html.contains("Was scheduled for") && !html.contains("Completed"), "{html}");
    let late = at("2026-12-24T00:00:00Z");
    assert!(sort_for_overview(&[notice], late).current.is_empty(), "a notice expires");
}

#[test]
fn incidents_suppressed_by_maintenance_are_shown_below_it_and_make_nothing_worse() {
    let work = PublishedIncident {
        kind: Kind::Maintenance,
        maintenance: Some(domain::maintenance::MaintenanceSchedule {
            phase: Phase::InProgress,
            from: at("2026-11-23T11:00:00Z"),
            until: Some(at("2026-11-23T13:00:00Z")),
        }),
        ..public("work", Status::Identified, Severity::Info, "2026-11-23T11:00:00Z", None)
    };
    let part = PublishedIncident {
        covered_by: Some(IncidentId::new("work")),
        ..public("part", Status::Investigating, Severity::Error, "2026-11-23T11:30:00Z", None)
    };
    let html = overview(&[listed(part.clone(), &["p"]), listed(work.clone(), &["w"])], &[]);
    assert!(html.contains("Maintenance in progress") && html.contains("No open incidents."), "{html}");
    assert!(!html.contains("Open incidents"), "{html}");
    assert!(
        html.contains("Incidents during this maintenance") && html.contains("href=\"status/incidents/inc_part\""),
        "{html}"
    );
    let all = [part, work.clone()];
    let html = render_incident(&view("../../status"), &listed(work, &["w"]), &all, &catalogue(), at(NOW)).unwrap();
    assert!(html.contains("Incidents during this maintenance") && html.contains("incidents/inc_part"), "{html}");
    // An incident that outlasts the maintenance is shown like any other.
    let (catalogue, listed) = (catalogue(), vec![listed(all[0].clone(), &["p"])]);
    let (all, then) = (PublicIncidents { incidents: all.to_vec(), complete_since: None }, at("2026-11-23T13:00:00Z"));
    let sorted = sort_for_overview(&all.incidents, then);
    let html = Overview::of(&catalogue, &all, listed, sorted, SINCE, then).render(&view("status")).unwrap();
    assert!(html.contains("Service disruption") && html.contains("1 open incident."), "{html}");
}

#[test]
fn an_unchanged_page_differs_only_in_its_time() {
    // The uptime of an outage that goes on is not the same a minute later.
    let open = listed(public("a", Status::Identified, Severity::Warning, NOW, None), &["As of now"]);
    let made = |at: Timestamp| {
        let all = PublicIncidents { incidents: vec![open.incident.clone()], complete_since: None };
        let sorted = sort_for_overview(&all.incidents, at);
        let page =
            Overview::of(&catalogue(), &all, vec![open.clone()], sorted, SINCE, at).render(&view("status")).unwrap();
        [page, render_incident(&view("../../status"), &open, &[], &catalogue(), at).unwrap()]
    };
    for (one, other) in made(at(NOW)).iter().zip(&made(at("2026-11-23T12:01:07Z"))) {
        assert!(one != other && without_render_time(one) == without_render_time(other), "{one}");
        assert!(one.contains("As of <time datetime=\"2026-11-23T12:00:00Z\">"));
    }
    assert_ne!(without_render_time(&made(at(NOW))[0]), without_render_time(&overview(&[], &[])));
    assert_eq!(without_render_time("As of now"), ["As of now", ""]);
}

#[test]
fn uptime_during_an_outage_changes_by_the_minute() {
    let began = "2026-11-23T11:59:50Z";
    let all = PublicIncidents {
        incidents: vec![public("open", Status::Investigating, Severity::Error, began, None)],
        complete_since: None,
    };
    let today = Some(jiff::civil::date(2026, 11, 23));
    let page = |now: &str| {
        let sorted = OverviewIncidents { current: Vec::new(), omitted_count: 0, past: Vec::new() };
        Overview::of(&catalogue(), &all, Vec::new(), sorted, today, at(now)).render(&view("status")).unwrap()
    };
    let (early, late) = (page("2026-11-23T12:00:01Z"), page("2026-11-23T12:00:59Z"));
    assert_eq!(without_render_time(&early), without_render_time(&late));
    assert!(early.contains("99.83 % uptime today"), "{early}");
    assert!(page("2026-11-23T12:01:01Z").contains("99.69 % uptime today"));
    assert!(page("2026-11-23T11:59:51Z").contains("99.97 % uptime today"), "it counts at once");
}

#[test]
fn links_are_relative_and_times_are_for_people_and_machines() {
    let over = public("x", Status::Resolved, Severity::Error, "2026-11-20T08:00:00Z", Some("2026-11-20T09:24:00Z"));
    let html = overview(&[], &[over]);
    assert!(html.contains("href=\"status/incidents/inc_x\""));
    assert!(html.contains("<time datetime=\"2026-11-20T09:24:00Z\">20 Nov 2026, 09:24 UTC</time> after 1 h 24 min"));
    assert!(!html.contains("href=\"/"));
}

#[test]
fn a_page_always_fits_in_a_response() {
    let long = "\"".repeat(15_000);
    let messages: Vec<&str> = std::iter::repeat_n(long.as_str(), 9).collect();
    let open: Vec<IncidentTimeline> = (0..50)
        .map(|n| listed(public(&format!("n{n}"), Status::Identified, Severity::Error, NOW, None), &messages))
        .collect();
    let html = overview(&open, &[]);
    assert!(html.len() < 5 * 1024 * 1024, "{}", html.len());
    assert!(html.contains("All updates of this incident"), "the page says that updates are left out");
    assert!((0..50).all(|n| html.contains(&format!("inc_n{n}\""))), "every incident is there");
}
