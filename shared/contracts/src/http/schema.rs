//! Schema types for closed lists of strings that the bodies hold as plain text.

use super::scopes;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// Words of a closed list that are plain text here, as a schema has them.
macro_rules! words {
    ($name:ident, $words:expr) => {
        pub(super) struct $name;

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "enum": $words})
            }
        }
    };
}
words!(ScopeWord, scopes::ALL_SCOPES);
words!(OptInWord, ["configurable_email", "warnings_email", "warnings_sms"]);
