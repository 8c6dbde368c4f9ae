//! The environment of a function, read once at its cold start.

/// What is wrong with the environment: every variable at once, never a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the environment of this function is not right: {}", .0.join("; "))]
pub struct ConfigError(pub Vec<String>);

/// A type that a variable can have.
pub trait Variable: Sized {
    /// The value of a variable that may be missing.
    ///
    /// # Errors
    /// What is wrong with it, without its value.
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

/// Reads one variable and notes what is wrong with it. An empty variable is a missing one.
#[doc(hidden)]
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
pub fn read<T: Variable>(name: &str, faults: &mut Vec<String>) -> Option<T> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    match T::read(value) {
        Ok(value) => Some(value),
        Err(fault) => {
            faults.push(format!("{name} {fault}"));
            None
        }
    }
}

/// Declares the environment of a function: `pub field: Type = "VARIABLE",`. Gives the struct `VARIABLES` (a test compares
/// them with the template) and `from_env`.
#[macro_export]
macro_rules! config {
    ($(#[$doc:meta])* pub struct $name:ident { $($(#[$field_doc:meta])* pub $field:ident: $kind:ty = $variable:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name { $($(#[$field_doc])* pub $field: $kind),+ }

        impl $name {
            /// The variables that it reads.
            pub const VARIABLES: &'static [&'static str] = &[$($variable),+];

            /// Reads the environment.
            ///
            /// # Errors
            /// Every variable that is missing or not of its type, in one error.
            pub fn from_env() -> ::core::result::Result<Self, $crate::config::ConfigError> {
                let mut faults = ::std::vec::Vec::new();
                $(let $field = $crate::config::read::<$kind>($variable, &mut faults);)+
                match ($($field,)+) {
                    ($(::core::option::Option::Some($field),)+) => ::core::result::Result::Ok(Self { $($field),+ }),
                    _ => ::core::result::Result::Err($crate::config::ConfigError(faults)),
                }
            }
        }
    };
}

#[cfg(test)]
#[expect(unreachable_pub, reason = "the macro declares what another module reads")]
mod tests {
    crate::config! {
        /// An environment that is not right.
        pub struct Wrong {
            /// Missing.
            pub missing: String = "TOCSIN_TEST_MISSING",
            /// Not a number.
            pub number: u32 = "PATH",
            /// May be missing.
            pub optional: Option<String> = "TOCSIN_TEST_OPTIONAL",
        }
    }

    crate::config! {
        /// An environment that is right.
        pub struct Right {
            /// There is one everywhere.
            pub path: String = "PATH",
            /// May be missing.
            pub optional: Option<String> = "TOCSIN_TEST_OPTIONAL",
        }
    }

    #[test]
    fn every_fault_is_named_at_once_and_no_value() {
        let error =
            Wrong::from_env().map(|Wrong { missing, number, optional }| (missing, number, optional)).unwrap_err();
        let text = error.to_string();
        assert!(text.ends_with(": TOCSIN_TEST_MISSING is missing; PATH is not a u32"), "{text}");
        assert_eq!(Wrong::VARIABLES, ["TOCSIN_TEST_MISSING", "PATH", "TOCSIN_TEST_OPTIONAL"]);
    }

    #[test]
    fn what_fits_is_read() {
        let right = Right::from_env().unwrap();
        assert!(!right.path.is_empty() && right.optional.is_none());
        assert_eq!(Right::VARIABLES.len(), 2);
    }
}
