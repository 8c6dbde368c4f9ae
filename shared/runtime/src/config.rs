//! Reads a function's environment variables, once at its cold start.

/// All problems of the environment variables in one error. Never contains a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid environment variables: {}", .0.join("; "))]
pub struct ConfigError(pub Vec<String>);

/// A type that an environment variable can be parsed to.
pub trait Variable: Sized {
    /// Parses a variable's value; `None` if the variable is not set.
    ///
    /// # Errors
    /// What is wrong with the value, without the value.
    fn read(value: Option<String>) -> Result<Self, &'static str>;
}

macro_rules! parsed {
    ($($kind:ty),+) => {$(
        impl Variable for $kind {
            fn read(value: Option<String>) -> Result<Self, &'static str> {
                value.ok_or("is missing")?.parse().map_err(|_| concat!("is not a ", stringify!($kind)))
            }
        }
    )+};
}

parsed!(u16, u32, u64, String);

impl Variable for Option<String> {
    fn read(value: Option<String>) -> Result<Self, &'static str> {
        Ok(value)
    }
}

/// Reads one variable and adds a problem to `faults` if it is not valid. An empty variable counts as not set.
#[doc(hidden)]
#[expect(clippy::disallowed_methods, reason = "this is the only place that reads the environment")]
pub fn read_variable<T: Variable>(name: &str, faults: &mut Vec<String>) -> Option<T> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    match T::read(value) {
        Ok(value) => Some(value),
        Err(fault) => {
            faults.push(format!("{name} {fault}"));
            None
        }
    }
}

/// Declares a function's environment variables as a struct with fields `pub field: Type = "VARIABLE",`. Generates `VARIABLES` (compared
/// with the template by a test) and `from_env`.
#[macro_export]
macro_rules! config {
    ($(#[$doc:meta])* pub struct $name:ident { $($(#[$field_doc:meta])* pub $field:ident: $kind:ty = $variable:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name { $($(#[$field_doc])* pub $field: $kind),+ }

        impl $name {
            /// Names of the environment variables.
            pub const VARIABLES: &'static [&'static str] = &[$($variable),+];

            /// Reads the environment variables.
            ///
            /// # Errors
            /// All variables that are missing or not valid, in one error.
            pub fn from_env() -> ::core::result::Result<Self, $crate::config::ConfigError> {
                let mut faults = ::std::vec::Vec::new();
                $(let $field = $crate::config::read_variable::<$kind>($variable, &mut faults);)+
                match ($($field,)+) {
                    ($(::core::option::Option::Some($field),)+) => ::core::result::Result::Ok(Self { $($field),+ }),
                    _ => ::core::result::Result::Err($crate::config::ConfigError(faults)),
                }
            }
        }
    };
}

#[cfg(test)]
#[expect(unreachable_pub, reason = "the macro declares public items")]
mod tests {
    crate::config! {
        /// Variables that are missing or invalid.
        pub struct Wrong {
            /// A variable that is not set.
            pub missing: String = "TOCSIN_TEST_MISSING",
            /// A variable that is not a number.
            pub number: u32 = "PATH",
            /// A variable that may be missing.
            pub optional: Option<String> = "TOCSIN_TEST_OPTIONAL",
        }
    }

    crate::config! {
        /// Variables that are all valid.
        pub struct Right {
            /// A variable that is always set.
            pub path: String = "PATH",
            /// A variable that may be missing.
            pub optional: Option<String> = "TOCSIN_TEST_OPTIONAL",
        }
    }

    #[test]
    fn all_problems_are_reported_together_without_values() {
        let error =
            Wrong::from_env().map(|Wrong { missing, number, optional }| (missing, number, optional)).unwrap_err();
        let text = error.to_string();
        assert!(text.ends_with(": TOCSIN_TEST_MISSING is missing; PATH is not a u32"), "{text}");
        assert_eq!(Wrong::VARIABLES, ["TOCSIN_TEST_MISSING", "PATH", "TOCSIN_TEST_OPTIONAL"]);
    }

    #[test]
    fn valid_variables_are_read() {
        let right = Right::from_env().unwrap();
        assert!(!right.path.is_empty() && right.optional.is_none());
        assert_eq!(Right::VARIABLES.len(), 2);
    }
}
