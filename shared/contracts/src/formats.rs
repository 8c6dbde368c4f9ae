//! The drop-in formats of `POST /v1/intake/{format}`.

use crate::intake::DropInFormat;

/// The drop-in formats with the path `POST /v1/intake/{name}` and our own error format. PagerDuty and Opsgenie have paths of their own.
pub const FORMATS: &[DropInFormat] =
    &[crate::alertmanager::FORMAT, crate::grafana::FORMAT, crate::cloudevents::FORMAT, crate::cloudwatch::FORMAT];
