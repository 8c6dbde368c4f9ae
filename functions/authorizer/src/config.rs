//! What the template tells this function.

runtime::config! {
    /// The environment of `authorizer`.
    pub struct Config {
        /// The table.
        pub table_name: String = "TABLE_NAME",
        /// The identity provider whose JWTs count; none where it is missing.
        pub oidc_issuer: Option<String> = "OIDC_ISSUER",
        /// Its discovery document, where that is not at the issuer's own address.
        pub oidc_discovery_url: Option<String> = "OIDC_DISCOVERY_URL",
        /// Whom its JWTs must be for.
        pub oidc_audience: Option<String> = "OIDC_AUDIENCE",
        /// The claim that lists tenants.
        pub oidc_tenants_claim: String = "OIDC_TENANTS_CLAIM",
        /// The claim that lists scopes.
        pub oidc_scopes_claim: String = "OIDC_SCOPES_CLAIM",
        /// Exact host:port that the SSRF guard lets through; only the local stage may set it.
        pub outbound_exceptions: Option<String> = "OUTBOUND_EXCEPTIONS",
        /// One more root certificate; only the local stage may set it.
        pub outbound_extra_root: Option<String> = "OUTBOUND_EXTRA_ROOT",
    }
}
