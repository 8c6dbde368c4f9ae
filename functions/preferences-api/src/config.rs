//! What the template tells this function.

runtime::config! {
    /// The environment of `preferences-api`.
    pub struct Config {
        /// The table.
        pub table_name: String = "TABLE_NAME",
        /// How long rows of incidents live, in days.
        pub retention_days: u32 = "RETENTION_DAYS",
        /// The KMS key that wraps the data keys.
        pub kms_key_id: String = "KMS_KEY_ID",
        /// Who runs this deployment: the first person of the operators' tenant.
        pub operator_email: String = "OPERATOR_EMAIL",
        /// The From address of alerts.
        pub email_from: String = "EMAIL_FROM",
        /// The alphanumeric sender of SMS where the tenant registered none.
        pub sms_sender_id: Option<String> = "SMS_SENDER_ID",
        /// Where notices to org admins go, as every event does.
        pub classify_queue_url: String = "CLASSIFY_QUEUE_URL",
        /// E-mails that ask for a confirmation.
        pub deliver_email_queue_url: String = "DELIVER_EMAIL_QUEUE_URL",
        /// SMS that ask for a confirmation.
        pub deliver_sms_queue_url: String = "DELIVER_SMS_QUEUE_URL",
        /// The API's address, with `{api}` for its id.
        pub public_base_url: String = "PUBLIC_BASE_URL",
        /// Exact host:port pairs that integrations may name beyond the public internet; empty but in the local stage.
        pub outbound_exceptions: Option<String> = "OUTBOUND_EXCEPTIONS",
    }
}
