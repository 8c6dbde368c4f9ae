//! What the routes share: scopes, optimistic locking by ETag, bodies, paging and JSON responses.

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
use store::incidents::IncidentListCursor;
use store::tenants::SaveOutcome;

/// Scopes that may read a tenant's data; any one is enough.
pub(crate) const READ_SCOPES: &[&str] = &[ALERTS_READ, ALERTS_MANAGE, SUPPORT_READ, PLATFORM_ADMIN];
/// Scopes that may change a tenant's data; any one is enough.
pub(crate) const MANAGE_SCOPES: &[&str] = &[ALERTS_MANAGE, PLATFORM_ADMIN];
/// Entries on a page of recipients or integrations, unless the query has a `limit`.
const PAGE_SIZE: usize = 100;
/// The largest `limit` of a page of recipients or integrations.
const PAGE_SIZE_MAX: usize = 500;
/// Largest request body of this API, in bytes. A tenant's settings are far smaller.
pub(crate) const BODY_MAX: usize = 64 * 1024;

/// Requires that the If-Match header names the current version of what is about to change.
///
/// # Errors
/// 428 without the header, 412 if it names other versions only, 422 if it is not a list of ETags.
pub(crate) fn require_current_version(headers: &HeaderMap, current: u64) -> Result<(), Problem> {
    match if_match_versions(headers)? {
        Some(versions) if versions.contains(&current) => Ok(()),
        Some(_) => Err(outdated_version()),
        None => Err(field_problem(
            StatusCode::PRECONDITION_REQUIRED,
            "header:If-Match",
            "is required; send the ETag from your last GET of this resource",
        )),
    }
}

/// Returns the versions that the If-Match header names; `None` without the header. `*` is refused, because it would let one write
/// overwrite another.
pub(crate) fn if_match_versions(headers: &HeaderMap) -> Result<Option<Vec<u64>>, Problem> {
    let mut given = headers.get_all(header::IF_MATCH).iter().peekable();
    if given.peek().is_none() {
        return Ok(None);
    }
    let mut versions = Vec::new();
    for tag in given.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim) {
        match tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')) {
            // A tag that is not a version matches no version; 0 is never one.
            Some(number) => versions.push(number.parse().unwrap_or(0)),
            None => {
                return Err(field_problem(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "header:If-Match",
                    "must be an ETag from a GET of this resource, with its quotes, such as \"7\"",
                ));
            }
        }
    }
    Ok(Some(versions))
}

/// 412: the resource has changed since the version that the write is based on.
pub(crate) fn outdated_version() -> Problem {
    field_problem(
        StatusCode::PRECONDITION_FAILED,
        "header:If-Match",
        "this resource has changed since you read it; GET it again, reapply your change, and send the new ETag",
    )
}

/// A problem about one field or header, with a status other than 422.
pub(crate) fn field_problem(status: StatusCode, pointer: &str, detail: &str) -> Problem {
    let errors = vec![FieldError::new(pointer, detail)];
    Problem { errors, ..Problem::new(status, &format!("{pointer}: {detail}")) }
}

/// A request body of at most [`BODY_MAX`] bytes.
#[derive(Debug)]
pub(crate) struct LimitedBody(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for LimitedBody {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let too_large =
            || Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than 64 KiB; send a smaller one");
        let bytes = Bytes::from_request(request, state).await.map_err(|_| too_large())?;
        if bytes.len() > BODY_MAX { Err(too_large()) } else { Ok(Self(bytes)) }
    }
}

impl LimitedBody {
    /// Parses the body as a JSON object.
    pub(crate) fn parse<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        contracts::problem::parse_object(&self.0).map_err(|error| Problem::invalid_fields(vec![error]))
    }

    /// As [`LimitedBody::parse`]; an empty body is the default.
    pub(crate) fn parse_or_default<T: DeserializeOwned + Default>(&self) -> Result<T, Problem> {
        if self.0.is_empty() { Ok(T::default()) } else { self.parse() }
    }

    /// Applies the body to `current` as a JSON merge patch (RFC 7396) and returns the result.
    pub(crate) fn apply_merge_patch<T: DeserializeOwned>(&self, current: &impl Serialize) -> Result<T, Problem> {
        let patch: Value = self.parse()?;
        if !patch.is_object() {
            let detail = "must be a JSON object with the fields to change (JSON merge patch, RFC 7396)";
            return Err(Problem::invalid_fields(vec![FieldError::new("", detail)]));
        }
        let mut document = serde_json::to_value(current).map_err(|_| Problem::internal())?;
        crate::patch::merge(&mut document, patch);
        let bytes = serde_json::to_vec(&document).map_err(|_| Problem::internal())?;
        contracts::problem::parse_json(&bytes).map_err(|error| Problem::invalid_fields(vec![error]))
    }
}

/// Parses the query parameter `limit`, from 1 to `most`; `usual` without it. Notes an error if it is not valid.
pub(crate) fn parse_limit(text: Option<&str>, usual: usize, most: usize, errors: &mut Vec<FieldError>) -> usize {
    let limit = text.map_or(Some(usual), |text| text.parse().ok()).filter(|limit| (1..=most).contains(limit));
    limit.unwrap_or_else(|| {
        errors.push(FieldError::new("query:limit", format!("must be from 1 to {most}")));
        usual
    })
}

/// The query of a list in the order of ids: `limit`, and as `cursor` the last id of the previous page.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct PageQuery {
    limit: Option<String>,
    cursor: Option<String>,
}

impl PageQuery {
    /// Checks both parameters and returns the limit and the cursor. `is_id` tells whether a text is an id of this list's entries.
    pub(crate) fn parse(&self, is_id: fn(&str) -> bool) -> Result<(usize, Option<&str>), Problem> {
        let mut errors = Vec::new();
        let limit = parse_limit(self.limit.as_deref(), PAGE_SIZE, PAGE_SIZE_MAX, &mut errors);
        let cursor = self.cursor.as_deref().filter(|text| !text.is_empty());
        if cursor.is_some_and(|text| !is_id(text)) {
            errors.push(FieldError::new("query:cursor", "is not valid; send the `next` of an earlier response"));
        }
        if errors.is_empty() { Ok((limit, cursor)) } else { Err(Problem::invalid_fields(errors)) }
    }
}

/// Parses the query parameter `cursor` of a list of incidents. Notes an error if it is not valid.
pub(crate) fn parse_incident_cursor(text: Option<&str>, errors: &mut Vec<FieldError>) -> Option<IncidentListCursor> {
    let cursor = IncidentListCursor::parse(text?);
    if cursor.is_none() {
        errors.push(FieldError::new("query:cursor", "is not valid; send the `next` of an earlier response"));
    }
    cursor
}

/// A JSON response that no cache may store.
pub(crate) fn json_response(status: StatusCode, body: &impl Serialize) -> Response {
    let mut response = (status, Json(body)).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// 200 with a JSON text that no cache may store.
pub(crate) fn json_bytes(body: Bytes) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (headers, body).into_response()
}

/// A JSON response whose ETag is the version that the next write must name.
pub(crate) fn json_with_etag(status: StatusCode, version: u64, body: &impl Serialize) -> Response {
    let mut response = json_response(status, body);
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{version}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// 201 with ETag and Location. The location is relative to the collection, because only the caller knows the stage before the path.
pub(crate) fn created_response(collection: &str, id: &str, version: u64, body: &impl Serialize) -> Response {
    let mut response = json_with_etag(StatusCode::CREATED, version, body);
    if let Ok(location) = HeaderValue::from_str(&format!("{collection}/{id}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// Turns the outcome of a save into an error, unless it was saved.
///
/// # Errors
/// 412 if the version is outdated, 404 without the tenant, 409 if another destination has the address, number or URL; those of
/// [`storage_problem`] if the table failed.
pub(crate) fn ensure_saved(result: Result<SaveOutcome, StoreError>) -> Result<(), Problem> {
    match result.map_err(storage_problem)? {
        SaveOutcome::Saved => Ok(()),
        SaveOutcome::VersionConflict => Err(outdated_version()),
        SaveOutcome::NoTenant => Err(Problem::tenant_not_found()),
        SaveOutcome::AddressInUse { by, channel } => {
            let (pointer, what) = match channel {
                Channel::Email => ("/email", "e-mail address"),
                Channel::Sms => ("/phone", "phone number"),
                Channel::Slack | Channel::Teams | Channel::Webhook => ("/url", "URL"),
            };
            let detail = format!("{by} already uses this {what}; change or delete that one first");
            Err(field_problem(StatusCode::CONFLICT, pointer, &detail))
        }
    }
}

/// 503 if the table is temporarily unavailable, otherwise 500.
pub(crate) fn storage_problem(error: StoreError) -> Problem {
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
    fn a_write_requires_the_current_version() {
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
            assert_eq!(status(require_current_version(&headers(tags), 7)), expected, "{tags:?}");
        }
    }

    #[test]
    fn a_missing_scope_is_403_and_another_tenants_path_404() {
        let caller = Caller {
            scopes: ["alerts:manage".to_owned()].into(),
            tenants: Some([TenantId::parse("acme").unwrap()].into()),
            ..Caller::default()
        };
        assert_eq!(caller.authorize_tenant("acme", MANAGE_SCOPES).unwrap().as_str(), "acme");
        for path in ["globex", "ACME", "", "acme ", "*"] {
            assert_eq!(caller.authorize_tenant(path, READ_SCOPES).unwrap_err().status, StatusCode::NOT_FOUND, "{path}");
        }
        let reader = Caller { scopes: ["alerts:read".to_owned()].into(), ..caller.clone() };
        assert!(reader.authorize_tenant("acme", READ_SCOPES).is_ok());
        assert_eq!(reader.authorize_tenant("acme", MANAGE_SCOPES).unwrap_err().status, StatusCode::FORBIDDEN);
        let poster = Caller { scopes: ["incidents:write".to_owned()].into(), ..caller };
        assert_eq!(poster.authorize_tenant("acme", READ_SCOPES).unwrap_err().status, StatusCode::FORBIDDEN);
        assert_eq!(
            Caller::anonymous().authorize_tenant("acme", READ_SCOPES).unwrap_err().status,
            StatusCode::FORBIDDEN
        );
    }

    #[test]
    fn a_patched_document_is_checked_as_a_whole() {
        let patch = |text: &str| LimitedBody(Bytes::copy_from_slice(text.as_bytes()));
        let current = json!({"name": "a", "plan": "p", "zone": "UTC"});
        let read = |text: &str| patch(text).apply_merge_patch::<contracts::http::TenantBody>(&current);
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
    fn a_taken_address_is_409_and_names_its_owner() {
        let problem =
            ensure_saved(Ok(SaveOutcome::AddressInUse { by: "rcp_1".into(), channel: Channel::Email })).unwrap_err();
        assert_eq!(problem.status, StatusCode::CONFLICT);
        assert!(problem.detail.contains("rcp_1"));
        assert_eq!(problem.errors[0].pointer, "/email");
    }
}
