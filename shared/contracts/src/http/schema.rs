//! Schema types for closed lists of strings that the bodies hold as plain text.

use super::scopes;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// Defines the schema of a string with a closed list of values.
macro_rules! string_enum {
    ($name:ident, $values:expr) => {
        pub(super) struct $name;

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "enum": $values})
            }
        }
    };
}
string_enum!(ScopeName, scopes::ALL_SCOPES);
string_enum!(OptInName, ["configurable_email", "warnings_email", "warnings_sms"]);
