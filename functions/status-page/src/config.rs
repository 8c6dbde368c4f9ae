//! Configuration from the environment, which `template.yaml` sets.

runtime::config! {
    /// The environment of the function `status-page`.
    pub struct Config {
        /// Name of the table. This function may read its public index only.
        pub table_name: String = "TABLE_NAME",
        /// Base URL of the API, with `{api}` in place of its id. Feeds and programs need absolute links.
        pub public_base_url: String = "PUBLIC_BASE_URL",
        /// The name of the status page; absent keeps "Service status".
        pub status_page_name: Option<String> = "STATUS_PAGE_NAME",
        /// The https URL of the logo beside the name; absent shows none.
        pub status_page_logo_url: Option<String> = "STATUS_PAGE_LOGO_URL",
        /// The first day of the history, such as `2026-11-23`; absent begins with the first public incident.
        pub status_page_since: Option<String> = "STATUS_PAGE_SINCE",
    }
}
