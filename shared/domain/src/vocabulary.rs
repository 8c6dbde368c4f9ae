//! The words everything else is said in. Their JSON spelling is the product's vocabulary and never changes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant),+ }

        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word as it stands in JSON, keys and metrics.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// The value of a word; `None` if there is no such word.
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

words!(
    /// What part of the product an incident is about; what a tenant switches on and off.
    Category {
        /// Platform and service availability.
        Infrastructure = "infrastructure",
        /// Payments, invoices, balances and expiries.
        Billing = "billing",
        /// A tenant's own configuration.
        Configurable = "configurable",
    }
);

impl Category {
    /// The category as a heading.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Infrastructure => "Infrastructure",
            Self::Billing => "Billing",
            Self::Configurable => "Configurable",
        }
    }
}

words!(
    /// What sort of thing a rule makes of an event.
    Kind {
        /// Something is broken.
        Incident = "incident",
        /// Something worth knowing that is told once and has no life of its own.
        Advisory = "advisory",
        /// Announced work.
        Maintenance = "maintenance",
        /// A user-level warning: only to those who opted in, by e-mail or SMS.
        OptIn = "opt_in",
        /// Stored, never told.
        Excluded = "excluded",
    }
);

words!(
    /// Where announced work stands; the words are Statuspage's.
    Phase {
        /// Announced.
        Scheduled = "scheduled",
        /// Being done.
        InProgress = "in_progress",
        /// Done, and watched.
        Verifying = "verifying",
        /// Over.
        Completed = "completed",
    }
);

words!(
    /// The state of a component, the worst last; the words are Statuspage's.
    Health {
        /// As it should be.
        Operational = "operational",
        /// Announced work is being done.
        UnderMaintenance = "under_maintenance",
        /// Slow, or in part.
        DegradedPerformance = "degraded_performance",
        /// Down for some.
        PartialOutage = "partial_outage",
        /// Down.
        MajorOutage = "major_outage",
    }
);

impl Health {
    /// The state as people read it.
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

words!(
    /// What everything comes to; the words are Statuspage's.
    Indicator {
        /// All is well.
        None = "none",
        /// Announced work, and nothing worse.
        Maintenance = "maintenance",
        /// Something is degraded.
        Minor = "minor",
        /// Something is down for some.
        Major = "major",
        /// Something is down.
        Critical = "critical",
    }
);

impl Indicator {
    /// The state of everything as people read it; Statuspage's own sentences, which its clients show.
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

words!(
    /// How much an incident matters; the words are Statuspage's.
    Impact {
        /// It breaks nothing.
        None = "none",
        /// It is announced work.
        Maintenance = "maintenance",
        /// Something is degraded.
        Minor = "minor",
        /// Something is down for some.
        Major = "major",
        /// Something is down.
        Critical = "critical",
    }
);

words!(
    /// What becomes of more than a person can take.
    Storms {
        /// It comes together in one message.
        Bundle = "bundle",
        /// Each is told by itself.
        Each = "each",
    }
);

words!(
    /// A way to reach somebody. `Slack` and `Teams` are one channel, `chat`, to matrix, plans and ticks.
    Channel {
        /// E-mail through SES.
        Email = "email",
        /// SMS through SNS.
        Sms = "sms",
        /// A Slack incoming webhook.
        Slack = "slack",
        /// A Teams Workflows webhook.
        Teams = "teams",
        /// The tenant's own HTTPS endpoint, signed.
        Webhook = "webhook",
    }
);

words!(
    /// What the matrix, the plans and a tenant's ticks speak of.
    ChannelClass {
        /// E-mail.
        Email = "email",
        /// SMS.
        Sms = "sms",
        /// Slack and Teams.
        Chat = "chat",
        /// Signed webhook.
        Webhook = "webhook",
    }
);

words!(
    /// A day of the week.
    Day {
        /// Monday.
        Monday = "monday",
        /// Tuesday.
        Tuesday = "tuesday",
        /// Wednesday.
        Wednesday = "wednesday",
        /// Thursday.
        Thursday = "thursday",
        /// Friday.
        Friday = "friday",
        /// Saturday.
        Saturday = "saturday",
        /// Sunday.
        Sunday = "sunday",
    }
);

impl ChannelClass {
    /// The class's name in a sentence.
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
    /// The class that matrix, plans and ticks know this channel by.
    #[must_use]
    pub const fn class(self) -> ChannelClass {
        match self {
            Self::Email => ChannelClass::Email,
            Self::Sms => ChannelClass::Sms,
            Self::Slack | Self::Teams => ChannelClass::Chat,
            Self::Webhook => ChannelClass::Webhook,
        }
    }

    /// The channel's name in a sentence.
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

words!(
    /// A recipient's role, or the audience of an integration.
    Role {
        /// Runs the tenant.
        OrgAdmin = "org_admin",
        /// Pays for it.
        BillingAdmin = "billing_admin",
        /// Operates what is built on it.
        TechDevops = "tech_devops",
        /// Answers its customers.
        SupportManager = "support_manager",
    }
);

impl Role {
    /// The role as the product document writes it.
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

words!(
    /// How bad it is; ordered, worst last.
    Severity {
        /// Worth knowing.
        Info = "info",
        /// May become a problem.
        Warning = "warning",
        /// A problem.
        Error = "error",
        /// An emergency: passes quiet hours unless the tenant says otherwise.
        Critical = "critical",
    }
);

words!(
    /// Where an incident stands; ordered, so that "forward" means "greater".
    Status {
        /// Known, cause unknown.
        Investigating = "investigating",
        /// Cause known.
        Identified = "identified",
        /// Fixed as far as we know, being watched.
        Monitoring = "monitoring",
        /// Over.
        Resolved = "resolved",
    }
);
