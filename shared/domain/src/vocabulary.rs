//! The enumerations that the whole product uses. Their JSON spelling never changes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Defines an enum whose values are spelled as given in JSON, with `ALL`, `as_str`, `parse` and `Display`.
macro_rules! string_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant),+ }

        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The value as it is spelled in JSON, keys and metrics.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// Parses the JSON spelling; `None` if no value has it.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

string_enum!(
    /// The category of an incident, which tenants turn on and off.
    Category {
        /// Availability of the platform and its services.
        Infrastructure = "infrastructure",
        /// Payments, invoices, balances and expiries.
        Billing = "billing",
        /// Problems in a tenant's own configuration.
        Configurable = "configurable",
    }
);

impl Category {
    /// The category as a title.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Infrastructure => "Infrastructure",
            Self::Billing => "Billing",
            Self::Configurable => "Configurable",
        }
    }
}

string_enum!(
    /// The kind of incident that a rule makes of an event.
    Kind {
        /// Something in the product is broken.
        Incident = "incident",
        /// Information that is sent once and never resolved.
        Advisory = "advisory",
        /// Scheduled maintenance, from its announcement to its end.
        Maintenance = "maintenance",
        /// A user-level warning, sent by e-mail or SMS to recipients who opted in.
        OptIn = "opt_in",
        /// An event that is stored and never notified.
        Excluded = "excluded",
    }
);

string_enum!(
    /// The phase of a maintenance, in Statuspage's terms.
    Phase {
        /// It is announced and has not started.
        Scheduled = "scheduled",
        /// The work has started.
        InProgress = "in_progress",
        /// The work is done, and its result is being verified.
        Verifying = "verifying",
        /// It has ended, or was canceled.
        Completed = "completed",
    }
);

string_enum!(
    /// The health of a component, in Statuspage's terms; ordered, worst last.
    Health {
        /// It works as it should.
        Operational = "operational",
        /// A maintenance is in progress.
        UnderMaintenance = "under_maintenance",
        /// It is slow, or works in part.
        DegradedPerformance = "degraded_performance",
        /// It is down for some users.
        PartialOutage = "partial_outage",
        /// It is down for all users.
        MajorOutage = "major_outage",
    }
);

impl Health {
    /// The health as people read it.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Operational => "Operational",
            Self::UnderMaintenance => "Under maintenance",
            Self::DegradedPerformance => "Degraded performance",
            Self::PartialOutage => "Partial outage",
            Self::MajorOutage => "Major outage",
        }
    }
}

string_enum!(
    /// The status of the product as a whole, in Statuspage's terms; ordered, worst last.
    Indicator {
        /// All components are operational.
        None = "none",
        /// A maintenance is in progress, and nothing is broken.
        Maintenance = "maintenance",
        /// A component is degraded.
        Minor = "minor",
        /// A component is down for some users.
        Major = "major",
        /// A component is down for all users.
        Critical = "critical",
    }
);

impl Indicator {
    /// The status as people read it. These are Statuspage's own sentences, which its clients show.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::None => "All Systems Operational",
            Self::Maintenance => "Service Under Maintenance",
            Self::Minor => "Minor Service Outage",
            Self::Major => "Partial System Outage",
            Self::Critical => "Major Service Outage",
        }
    }
}

string_enum!(
    /// The impact of an incident, in Statuspage's terms.
    Impact {
        /// No component is affected.
        None = "none",
        /// It is a maintenance.
        Maintenance = "maintenance",
        /// A component is degraded.
        Minor = "minor",
        /// A component is down for some users.
        Major = "major",
        /// A component is down for all users.
        Critical = "critical",
    }
);

string_enum!(
    /// How storm protection handles alerts over a limit.
    StormMode {
        /// It combines them into one message.
        Bundle = "bundle",
        /// It is off: every alert is sent on its own.
        Each = "each",
    }
);

string_enum!(
    /// A delivery channel. The matrix, the pricing plans and tenants' settings treat `Slack` and `Teams` as one class, `chat`.
    Channel {
        /// E-mail, sent through SES.
        Email = "email",
        /// SMS, sent through SNS.
        Sms = "sms",
        /// Slack, through an incoming webhook.
        Slack = "slack",
        /// Teams, through a Workflows webhook.
        Teams = "teams",
        /// Signed requests to the tenant's own HTTPS endpoint.
        Webhook = "webhook",
    }
);

string_enum!(
    /// A class of channels, by which the matrix, the pricing plans and tenants' settings are written.
    ChannelClass {
        /// E-mails to recipients.
        Email = "email",
        /// Text messages to phones.
        Sms = "sms",
        /// The channels Slack and Teams.
        Chat = "chat",
        /// Signed requests to HTTPS endpoints.
        Webhook = "webhook",
    }
);

string_enum!(
    /// A day of the week.
    Day {
        /// The whole Monday, by the local calendar.
        Monday = "monday",
        /// The whole Tuesday, by the local calendar.
        Tuesday = "tuesday",
        /// The whole Wednesday, by the local calendar.
        Wednesday = "wednesday",
        /// The whole Thursday, by the local calendar.
        Thursday = "thursday",
        /// The whole Friday, by the local calendar.
        Friday = "friday",
        /// The whole Saturday, by the local calendar.
        Saturday = "saturday",
        /// The whole Sunday, by the local calendar.
        Sunday = "sunday",
    }
);

impl ChannelClass {
    /// The name of the class, as used in a sentence.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Email => "e-mail",
            Self::Sms => "SMS",
            Self::Chat => "Slack or Teams",
            Self::Webhook => "webhook",
        }
    }
}

impl Channel {
    /// The class that the channel belongs to.
    #[must_use]
    pub const fn class(self) -> ChannelClass {
        match self {
            Self::Email => ChannelClass::Email,
            Self::Sms => ChannelClass::Sms,
            Self::Slack | Self::Teams => ChannelClass::Chat,
            Self::Webhook => ChannelClass::Webhook,
        }
    }

    /// The name of the channel, as used in a sentence.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Email => "e-mail",
            Self::Sms => "SMS",
            Self::Slack => "Slack",
            Self::Teams => "Teams",
            Self::Webhook => "webhook",
        }
    }
}

string_enum!(
    /// The role of a recipient, or the audience of an integration.
    Role {
        /// Administrators of the tenant's organization.
        OrgAdmin = "org_admin",
        /// People who handle billing.
        BillingAdmin = "billing_admin",
        /// Engineers who operate what is built on the product.
        TechDevops = "tech_devops",
        /// People who answer the tenant's own customers.
        SupportManager = "support_manager",
    }
);

impl Role {
    /// The name of the role, as the product document spells it.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::OrgAdmin => "Org Admin",
            Self::BillingAdmin => "Billing Admin",
            Self::TechDevops => "Tech/DevOps",
            Self::SupportManager => "Support Manager",
        }
    }
}

string_enum!(
    /// The severity of an incident; ordered, worst last.
    Severity {
        /// It is for information only.
        Info = "info",
        /// It may become a problem.
        Warning = "warning",
        /// It is a problem.
        Error = "error",
        /// It is an emergency, which quiet hours do not hold unless the tenant chose so.
        Critical = "critical",
    }
);

string_enum!(
    /// The status of an incident; ordered, so that a move forward is to a greater value.
    Status {
        /// The cause is not known yet.
        Investigating = "investigating",
        /// The cause is known.
        Identified = "identified",
        /// It seems to be fixed, and is being monitored.
        Monitoring = "monitoring",
        /// The incident is over.
        Resolved = "resolved",
    }
);
