//! Environment variables that the template sets.

runtime::config! {
    /// Configuration of `preferences-api`.
    pub struct Config {
        /// Name of the DynamoDB table.
        pub table_name: String = "TABLE_NAME",
        /// Days that items of incidents are kept.
        pub retention_days: u32 = "RETENTION_DAYS",
        /// How many shards of the due index are written: 64, or 8 until no function of release 0.1.0 reads it any more.
        pub due_shards: u16 = "DUE_SHARDS",
        /// Id of the KMS key that encrypts the data keys.
        pub kms_key_id: String = "KMS_KEY_ID",
        /// After how many seconds no function seals or signs with an earlier generation of the data key: 180, on the local stack 60.
        pub data_key_settling_seconds: u32 = "DATA_KEY_SETTLING_SECONDS",
        /// E-mail address of the operator, who becomes the first recipient of the operators' tenant.
        pub operator_email: String = "OPERATOR_EMAIL",
        /// The From address of alert e-mails.
        pub email_from: String = "EMAIL_FROM",
        /// Alphanumeric SMS sender id for tenants that have not registered their own.
        pub sms_sender_id: Option<String> = "SMS_SENDER_ID",
        /// The page on which tenants contact Support.
        pub support_url: Option<String> = "SUPPORT_URL",
        /// Queue for system events, which notify org admins.
        pub classify_queue_url: String = "CLASSIFY_QUEUE_URL",
        /// Queue for e-mails that ask a recipient to confirm an address.
        pub deliver_email_queue_url: String = "DELIVER_EMAIL_QUEUE_URL",
        /// Queue for text messages with a confirmation code.
        pub deliver_sms_queue_url: String = "DELIVER_SMS_QUEUE_URL",
        /// Base URL of the API, with `{api}` in place of its id.
        pub public_base_url: String = "PUBLIC_BASE_URL",
        /// `host:port` pairs on private networks that integrations may use; set in the local stage only.
        pub outbound_exceptions: Option<String> = "OUTBOUND_EXCEPTIONS",
    }
}
