//! Who may see and change what, which version a write is based on, and the form of bodies and answers.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use contracts::http::scopes::{ALERTS_MANAGE, ALERTS_READ, PLATFORM_ADMIN, SUPPORT_READ};
use contracts::problem::FieldError;

use domain::vocabulary::Channel;
use runtime::http::Problem;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::StoreError;
use store::incidents::SeenCursor;
use store::tenants::Saved;

/// Scopes that read a tenant's side.
pub(crate) const READ: &[&str] = &[ALERTS_READ, ALERTS_MANAGE, SUPPORT_READ, PLATFORM_ADMIN];
/// Scopes that change it.
pub(crate) const MANAGE: &[&str] = &[ALERTS_MANAGE, PLATFORM_ADMIN];
/// How many things a list has on a page unless the query says otherwise, and at most.
const PAGE: usize = 100;
const PAGE_MAX: usize = 500;
/// The largest body of this API, in bytes; a tenant's settings are far below.
pub(crate) const BODY_MAX: usize = 64 * 1024;

/// What a write must be based on: the version that its If-Match names.
pub(crate) fn based_on(headers: &HeaderMap, current: u64) -> Result<(), Problem> {
    match expected(headers)? {
        Some(versions) if versions.contains(&current) => Ok(()),
        Some(_) => Err(outdated()),
        None => Err(field_problem(
            StatusCode::PRECONDITION_REQUIRED,
            "header:If-Match",
            "is missing; send the ETag of the GET that this change is based on",
        )),
    }
}

/// The versions that If-Match names, if it is there. `*` names none, and would let a write run over another one.
pub(crate) fn expected(headers: &HeaderMap) -> Result<Option<Vec<u64>>, Problem> {
    let mut given = headers.get_all(header::IF_MATCH).iter().peekable();
    if given.peek().is_none() {
        return Ok(None);
    }
    let mut versions = Vec::new();
    for tag in given.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim) {
        match tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')) {
            // An ETag of ours that is no number of ours is simply not the current one.
            Some(number) => versions.push(number.parse().unwrap_or(0)),
            None => {
                return Err(field_problem(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "header:If-Match",
                    "must be an ETag as a GET of the same path gave it, such as \"7\" with its quotes",
                ));
            }
        }
    }
    Ok(Some(versions))
}

pub(crate) fn outdated() -> Problem {
    field_problem(
        StatusCode::PRECONDITION_FAILED,
        "header:If-Match",
        "somebody changed this in between; GET it again, make your change on that, and send the new ETag",
    )
}

/// A problem of another status than 422 that is about one field or header.
pub(crate) fn field_problem(status: StatusCode, pointer: &str, detail: &str) -> Problem {
    let errors = vec![FieldError::new(pointer, detail)];
    Problem { errors, ..Problem::new(status, &format!("{pointer}: {detail}")) }
}

/// A body of at most [`BODY_MAX`].
#[derive(Debug)]
pub(crate) struct Limited(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for Limited {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let too_large = || Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "the body has more than 64 KiB; send less");
        let bytes = Bytes::from_request(request, state).await.map_err(|_| too_large())?;
        if bytes.len() > BODY_MAX { Err(too_large()) } else { Ok(Self(bytes)) }
    }
}

impl Limited {
    /// The body as JSON of a shape.
    pub(crate) fn parse<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        contracts::problem::parse_object(&self.0).map_err(|error| Problem::fields(vec![error]))
    }

    /// As [`Limited::parse`]; no body at all is the default.
    pub(crate) fn parse_or_default<T: DeserializeOwned + Default>(&self) -> Result<T, Problem> {
        if self.0.is_empty() { Ok(T::default()) } else { self.parse() }
    }

    /// What `current` becomes when this merge patch is applied to it.
    pub(crate) fn patched<T: DeserializeOwned>(&self, current: &impl Serialize) -> Result<T, Problem> {
        let patch: Value = self.parse()?;
        if !patch.is_object() {
            let detail = "must be a JSON object with the members that change (RFC 7396)";
            return Err(Problem::fields(vec![FieldError::new("", detail)]));
        }
        let mut document = serde_json::to_value(current).map_err(|_| Problem::internal())?;
        crate::patch::merge(&mut document, patch);
        let bytes = serde_json::to_vec(&document).map_err(|_| Problem::internal())?;
        contracts::problem::parse(&bytes).map_err(|error| Problem::fields(vec![error]))
    }
}

/// The `limit` of a query.
pub(crate) fn limit(text: Option<&str>, usual: usize, most: usize, errors: &mut Vec<FieldError>) -> usize {
    let limit = text.map_or(Some(usual), |text| text.parse().ok()).filter(|limit| (1..=most).contains(limit));
    limit.unwrap_or_else(|| {
        errors.push(FieldError::new("query:limit", format!("must be from 1 to {most}")));
        usual
    })
}

/// The query of a list that is read in the order of ids: `limit`, and as `cursor` the id that the page before ended with.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Paged {
    limit: Option<String>,
    cursor: Option<String>,
}

impl Paged {
    /// Limit and cursor, checked. `is_id` says whether a text is an id of the list's things.
    pub(crate) fn read(&self, is_id: fn(&str) -> bool) -> Result<(usize, Option<&str>), Problem> {
        let mut errors = Vec::new();
        let limit = limit(self.limit.as_deref(), PAGE, PAGE_MAX, &mut errors);
        let cursor = self.cursor.as_deref().filter(|text| !text.is_empty());
        if cursor.is_some_and(|text| !is_id(text)) {
            errors.push(FieldError::new("query:cursor", "is not the `next` of an earlier answer"));
        }
        if errors.is_empty() { Ok((limit, cursor)) } else { Err(Problem::fields(errors)) }
    }
}

/// The `cursor` of a query over what a tenant saw.
pub(crate) fn seen_cursor(text: Option<&str>, errors: &mut Vec<FieldError>) -> Option<SeenCursor> {
    let cursor = SeenCursor::parse(text?);
    if cursor.is_none() {
        errors.push(FieldError::new("query:cursor", "is not the `next` of an earlier answer"));
    }
    cursor
}

/// A JSON answer. Nothing of this API may be kept by a cache on the way.
pub(crate) fn answer(status: StatusCode, body: &impl Serialize) -> Response {
    let mut response = (status, Json(body)).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A JSON answer with the version that the next write is based on.
pub(crate) fn tagged(status: StatusCode, version: u64, body: &impl Serialize) -> Response {
    let mut response = answer(status, body);
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{version}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// A JSON answer for something new. The location is relative to the collection, because the stage's name before it is only
/// known to who asked.
pub(crate) fn created(collection: &str, id: &str, version: u64, body: &impl Serialize) -> Response {
    let mut response = tagged(StatusCode::CREATED, version, body);
    if let Ok(location) = HeaderValue::from_str(&format!("{collection}/{id}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// Whatever the table said beyond "done".
pub(crate) fn saved(result: Result<Saved, StoreError>) -> Result<(), Problem> {
    match result.map_err(table)? {
        Saved::Done => Ok(()),
        Saved::Outdated => Err(outdated()),
        Saved::NoTenant => Err(Problem::no_tenant()),
        Saved::Taken { by, channel } => {
            let (pointer, what) = match channel {
                Channel::Email => ("/email", "e-mail address"),
                Channel::Sms => ("/phone", "phone number"),
                Channel::Slack | Channel::Teams | Channel::Webhook => ("/url", "URL"),
            };
            let detail = format!("{by} of this tenant has this {what} already; change that one, or delete it first");
            Err(field_problem(StatusCode::CONFLICT, pointer, &detail))
        }
    }
}

/// What a failure of the table means for the caller.
pub(crate) fn table(error: StoreError) -> Problem {
    tracing::error!(%error, "the table did not answer");
    if error.is_temporary() { Problem::unavailable() } else { Problem::internal() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::ids::TenantId;
    use runtime::http::Caller;
    use serde_json::json;

    fn headers(tags: &[&str]) -> HeaderMap {
        tags.iter().map(|tag| (header::IF_MATCH, HeaderValue::from_str(tag).unwrap())).collect()
    }

    fn status(result: Result<(), Problem>) -> u16 {
        result.map_or_else(|problem| problem.status.as_u16(), |()| 200)
    }

    #[test]
    fn a_write_names_the_version_it_is_based_on() {
        for (tags, expected) in [
            (&["\"7\""][..], 200),
            (&["\"6\", \"7\""], 200),
            (&["\"6\"", "\"7\""], 200),
            (&["\"6\""], 412),
            (&["\"seven\""], 412),
            (&[], 428),
            (&["*"], 422),
            (&["7"], 422),
            (&["W/\"7\""], 422),
        ] {
            assert_eq!(status(based_on(&headers(tags), 7)), expected, "{tags:?}");
        }
    }

    #[test]
    fn another_tenants_path_does_not_exist_and_a_missing_scope_is_said_first() {
        let caller = Caller {
            scopes: ["alerts:manage".to_owned()].into(),
            tenants: Some([TenantId::parse("acme").unwrap()].into()),
            ..Caller::default()
        };
        assert_eq!(caller.speaking_for("acme", MANAGE).unwrap().as_str(), "acme");
        for path in ["globex", "ACME", "", "acme ", "*"] {
            assert_eq!(caller.speaking_for(path, READ).unwrap_err().status, StatusCode::NOT_FOUND, "{path}");
        }
        let reader = Caller { scopes: ["alerts:read".to_owned()].into(), ..caller.clone() };
        assert!(reader.speaking_for("acme", READ).is_ok());
        assert_eq!(reader.speaking_for("acme", MANAGE).unwrap_err().status, StatusCode::FORBIDDEN);
        let poster = Caller { scopes: ["incidents:write".to_owned()].into(), ..caller };
        assert_eq!(poster.speaking_for("acme", READ).unwrap_err().status, StatusCode::FORBIDDEN);
        assert_eq!(Caller::nobody().speaking_for("acme", READ).unwrap_err().status, StatusCode::FORBIDDEN);
    }

    #[test]
    fn a_patch_is_checked_as_a_whole_document() {
        let patch = |text: &str| Limited(Bytes::copy_from_slice(text.as_bytes()));
        let current = json!({"name": "a", "plan": "p", "zone": "UTC"});
        let read = |text: &str| patch(text).patched::<contracts::http::TenantBody>(&current);
        assert_eq!(read(r#"{"zone":"Asia/Kolkata"}"#).unwrap().zone, "Asia/Kolkata");
        for (text, status) in
            [(r#"{"zone":null}"#, 422), (r#"{"zon":"x"}"#, 422), (r#"{"zone":7}"#, 422), ("{", 400), ("[]", 422)]
        {
            assert_eq!(read(text).unwrap_err().status.as_u16(), status, "{text}");
        }
        assert!(patch("").parse_or_default::<contracts::http::RotateTokenBody>().is_ok());
        assert!(patch("").parse::<Value>().is_err());
    }

    #[test]
    fn the_first_holder_of_an_address_is_named() {
        let problem = saved(Ok(Saved::Taken { by: "rcp_1".into(), channel: Channel::Email })).unwrap_err();
        assert_eq!(problem.status, StatusCode::CONFLICT);
        assert!(problem.detail.contains("rcp_1"));
        assert_eq!(problem.errors[0].pointer, "/email");
    }
}
