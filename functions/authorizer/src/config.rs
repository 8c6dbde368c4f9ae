//! Environment variables that the template sets.

runtime::config! {
    /// Environment variables of the function `authorizer`.
    pub struct Config {
        /// Name of the DynamoDB table.
        pub table_name: String = "TABLE_NAME",
        /// Issuer of the identity provider whose JWTs are accepted; without it no JWT is.
        pub oidc_issuer: Option<String> = "OIDC_ISSUER",
        /// URL of the provider's discovery document, if it is not at the issuer's well-known path.
        pub oidc_discovery_url: Option<String> = "OIDC_DISCOVERY_URL",
        /// The audience (`aud`) that JWTs must name.
        pub oidc_audience: Option<String> = "OIDC_AUDIENCE",
        /// Name of the claim that lists the caller's tenants.
        pub oidc_tenants_claim: String = "OIDC_TENANTS_CLAIM",
        /// Name of the claim that lists the caller's scopes.
        pub oidc_scopes_claim: String = "OIDC_SCOPES_CLAIM",
        /// `host:port` pairs on private networks that the SSRF guard allows; set in the local stage only.
        pub outbound_exceptions: Option<String> = "OUTBOUND_EXCEPTIONS",
        /// An additional root certificate to trust; set in the local stage only.
        pub outbound_extra_root: Option<String> = "OUTBOUND_EXTRA_ROOT",
    }
}
