//! The house rules of `template.yaml`: what a review would otherwise have to see every time.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail by a panic")]

use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use tests::template::{Template, arn_of, file, kebab, many, on_aws, root, texts, yaml};

/// Functions in the order in which an incident runs through them, which is the order of the template.
const PIPELINE: [&str; 15] = [
    "authorizer",
    "intake",
    "classify",
    "subscription-lookup",
    "deliver-email",
    "deliver-sms",
    "deliver-chat",
    "deliver-webhook",
    "release",
    "feedback",
    "dead-letter",
    "preferences-api",
    "test-alert",
    "console",
    "status-page",
];

/// Statements that may name the resource `*`, each with the reason that a reviewer would ask for.
const WILDCARDS: [(&str, &str, &str); 5] = [
    ("TracingPolicy", "SendTraces", "X-Ray takes no resource"),
    ("DataKey", "AccountManagesKey", "in a key policy `*` is the key"),
    ("DataKey", "FunctionsUseKeyForDataKeysOnly", "in a key policy `*` is the key"),
    (
        "DeliverEmailRole",
        "SendFromOneAddress",
        "SES asks for several resources a message; the sender is pinned instead",
    ),
    ("DeliverSmsRole", "PublishToPhones", "a phone number is no resource; topics are denied"),
];

/// Routes that ask no authorizer.
const OPEN_ROUTES: [(&str, &str); 38] = [
    ("GET", "/confirm"),
    ("HEAD", "/confirm"),
    ("GET", "/console"),
    ("HEAD", "/console"),
    ("GET", "/console/{proxy+}"),
    ("HEAD", "/console/{proxy+}"),
    ("GET", "/never"),
    ("HEAD", "/never"),
    ("GET", "/read"),
    ("HEAD", "/read"),
    ("GET", "/r/{token}"),
    ("HEAD", "/r/{token}"),
    ("GET", "/resubscribe"),
    ("HEAD", "/resubscribe"),
    ("GET", "/status"),
    ("HEAD", "/status"),
    ("GET", "/status/{proxy+}"),
    ("HEAD", "/status/{proxy+}"),
    ("GET", "/api/v2/{proxy+}"),
    ("HEAD", "/api/v2/{proxy+}"),
    ("GET", "/stop"),
    ("HEAD", "/stop"),
    ("GET", "/unsubscribe"),
    ("HEAD", "/unsubscribe"),
    // Intake looks the key up itself: these clients read their own product's refusals only.
    ("GET", "/v2/alerts/requests/{id}"),
    ("GET", "/v2/alerts/{proxy+}"),
    ("OPTIONS", "/v1/intake/{format}"),
    ("POST", "/confirm"),
    ("POST", "/never"),
    ("POST", "/resubscribe"),
    ("POST", "/stop"),
    ("POST", "/unsubscribe"),
    ("POST", "/v2/alerts"),
    ("POST", "/v2/alerts/{proxy+}"),
    ("PUT", "/v2/alerts/{proxy+}"),
    ("DELETE", "/v2/alerts/{proxy+}"),
    ("POST", "/v2/change/enqueue"),
    ("POST", "/v2/enqueue"),
];

/// The properties by which a resource would get a name of its own.
const NAMES: [&str; 10] = [
    "AlarmName",
    "DashboardName",
    "FunctionName",
    "LogGroupName",
    "ManagedPolicyName",
    "QueueName",
    "RoleName",
    "RuleName",
    "TableName",
    "TopicName",
];

fn number(value: &Value) -> u64 {
    value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap_or_else(|| panic!("{value} is no number"))
}

/// The variables that a function's `runtime::config!` block reads.
fn variables(function: &str) -> BTreeSet<String> {
    let source = file(&format!("functions/{function}/src/config.rs"));
    let Some(block) = source.split("runtime::config! {").nth(1) else { return BTreeSet::new() };
    let block = block.split("\n}").next().unwrap();
    let fields = block.lines().map(str::trim).filter(|line| line.starts_with("pub ") && line.contains(" = \""));
    fields.map(|line| line.split('"').nth(1).unwrap().to_owned()).collect()
}

#[test]
fn functions_and_folders_match_in_the_order_of_the_pipeline() {
    let template = Template::read();
    let folders = std::fs::read_dir(root().join("functions")).unwrap();
    let folders: BTreeSet<String> = folders.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let functions: BTreeSet<String> = template.functions().map(|(folder, _, _)| folder).collect();
    assert_eq!(folders, functions);
    assert_eq!(functions, PIPELINE.map(str::to_owned).into());

    let source = file("template.yaml");
    let place = |folder: &str| source.find(&format!("CodeUri: functions/{folder}/\n"));
    let places: Vec<_> = PIPELINE.iter().map(|folder| place(folder).unwrap_or_else(|| panic!("{folder}"))).collect();
    assert!(places.is_sorted(), "the template no longer reads in the order of the pipeline");
}

#[test]
fn all_functions_are_built_by_cargo_lambda_with_the_same_runtime() {
    let template = Template::read();
    for (id, resource) in template.of("AWS::Serverless::Function") {
        let folder = kebab(id.strip_suffix("Function").unwrap());
        assert_eq!(
            resource["Metadata"],
            json!({"BuildMethod": "rust-cargolambda", "BuildProperties": {"Binary": folder}}),
            "{id}"
        );
        // xtask rewrites this line for the local run, where the binaries are built already.
        let line = format!("\n      CodeUri: functions/{folder}/\n");
        assert_eq!(file("template.yaml").matches(&line).count(), 1, "{id}");
        for common in ["Runtime", "Handler", "Architectures", "Tracing", "VpcConfig", "Policies"] {
            assert!(resource["Properties"].get(common).is_none(), "{id} has a {common} of its own");
        }
    }
    let globals = &template.0["Globals"]["Function"];
    assert_eq!(globals["Runtime"], "provided.al2023");
    assert_eq!(globals["Handler"], "bootstrap");
    assert_eq!(globals["Architectures"], json!([{"Ref": "Architecture"}]));
    assert_eq!(globals["Tracing"], "Active");
    assert_eq!(template.0["Parameters"]["Architecture"]["Default"], "arm64");
    assert_eq!(template.resource("Api")["Properties"]["TracingEnabled"], true);
    // One panicking record must not abort the process and send its batch again.
    assert!(file("Cargo.toml").contains("[profile.release]\npanic = \"unwind\"\n"));
}

/// What the template tells a function; one that it tells nothing has no environment at all.
fn environment(properties: &Value) -> Map<String, Value> {
    properties["Environment"]["Variables"].as_object().cloned().unwrap_or_default()
}

#[test]
fn every_functions_environment_is_exactly_what_it_reads() {
    let template = Template::read();
    for (folder, _, properties) in template.functions() {
        let variables_of = environment(properties);
        let variables_of: BTreeSet<String> = variables_of.keys().cloned().collect();
        assert_eq!(variables_of, variables(&folder), "left the template, right functions/{folder}/src/config.rs");
    }
}

#[test]
fn queue_sources_report_item_failures_with_enough_visibility_timeout() {
    let template = Template::read();
    let mut fed = BTreeSet::new();
    for (folder, _, properties) in template.functions() {
        let timeout = number(&properties["Timeout"]);
        for source in template.events(properties, "SQS") {
            let queue = arn_of(&source["Queue"]).unwrap();
            assert!(fed.insert(queue.to_owned()), "{queue} feeds two functions");
            assert_eq!(source["FunctionResponseTypes"], json!(["ReportBatchItemFailures"]), "{queue}");
            let concurrency = &source["ScalingConfig"]["MaximumConcurrency"];
            assert!(!concurrency.is_null(), "{queue} has no MaximumConcurrency");
            // A parameter is text to the emulator, and its poller then stands still; a mapping's number is a number.
            assert!(concurrency.get("Ref").is_none(), "{queue}");
            let visibility = number(&template.resource(queue)["Properties"]["VisibilityTimeout"]);
            assert!(
                visibility >= 6 * timeout,
                "{queue} hides a message for {visibility} s, {folder} runs for {timeout} s"
            );
            let fifo = template.resource(queue)["Properties"]["FifoQueue"] == true;
            assert!(!fifo || number(&source["BatchSize"]) <= 10, "{queue}");
            let expected = if queue.ends_with("DeadLetterQueue") { "dead-letter".to_owned() } else { owner(queue) };
            assert_eq!(folder, expected, "{queue}");
        }
    }
    let all: BTreeSet<String> = template.of("AWS::SQS::Queue").map(|(id, _)| id.to_owned()).collect();
    assert_eq!(fed, all, "a queue that feeds nobody");
}

#[test]
fn platform_wide_routing_has_a_concurrency_of_its_own() {
    let template = Template::read();
    let sources = template.functions().flat_map(|(_, _, properties)| template.events(properties, "SQS"));
    let sources: Vec<&Value> = sources.collect();
    let of = |queue: &str| sources.iter().find(|source| arn_of(&source["Queue"]) == Some(queue)).unwrap();
    let (own, wide) = (of("SubscriptionLookupQueue"), of("SubscriptionLookupBulkQueue"));
    assert_eq!(wide["BatchSize"], 1, "jobs of a batch wait for each other");
    assert_ne!(own["ScalingConfig"], wide["ScalingConfig"]);
    // One incident's jobs run at the same time with the default of both parameters.
    let parameters = template.0["Parameters"].clone();
    let jobs = 64 / number(&parameters["ShardsPerJob"]["Default"]);
    let capacity = &template.0["Mappings"]["Capacity"][parameters["Capacity"]["Default"].as_str().unwrap()];
    assert!(number(&capacity["RoutingBulk"]) >= jobs, "{capacity}");
}

/// The folder of the function that a queue belongs to.
fn owner(queue: &str) -> String {
    let base = queue.strip_suffix("DeadLetterQueue").or_else(|| queue.strip_suffix("BulkQueue"));
    kebab(base.or_else(|| queue.strip_suffix("Queue")).unwrap())
}

#[test]
fn every_queue_has_a_dead_letter_queue_that_keeps_messages_for_fourteen_days() {
    let template = Template::read();
    for id in template.work_queues() {
        let properties = &template.resource(id)["Properties"];
        let redrive = &properties["RedrivePolicy"];
        let dead = arn_of(&redrive["deadLetterTargetArn"]).unwrap_or_else(|| panic!("{id} has no dead-letter queue"));
        assert_eq!(owner(dead), owner(id), "{id} and {dead}");
        assert_eq!(redrive["maxReceiveCount"], 20, "{id}: an outage of AWS is nobody's poison");
        let dead = &template.resource(dead)["Properties"];
        assert_eq!(dead["MessageRetentionPeriod"], 14 * 24 * 60 * 60, "{id}");
        assert!(number(&dead["MessageRetentionPeriod"]) > number(&properties["MessageRetentionPeriod"]), "{id}");
        assert_eq!(dead["FifoQueue"], properties["FifoQueue"], "{id}");
        if properties["FifoQueue"] == true {
            assert_eq!(properties["ContentBasedDeduplication"], false, "{id}: a flap says the same words twice");
        }
    }
    for (id, queue) in template.of("AWS::SQS::Queue") {
        assert_eq!(queue["Properties"]["SqsManagedSseEnabled"], true, "{id}");
    }
}

#[test]
fn every_queue_and_function_has_an_alarm_and_every_alarm_a_runbook_entry() {
    let template = Template::read();
    let alarms: BTreeMap<&str, &Value> =
        template.of("AWS::CloudWatch::Alarm").map(|(id, alarm)| (id, &alarm["Properties"])).collect();
    let alarm = |id: String| *alarms.get(id.as_str()).unwrap_or_else(|| panic!("there is no {id}"));
    let queue = |id: &str| json!([{"Name": "QueueName", "Value": {"Fn::GetAtt": format!("{id}.QueueName")}}]);
    for id in template.work_queues() {
        let alarm = alarm(format!("{id}AgeAlarm"));
        assert_eq!(alarm["MetricName"], "ApproximateAgeOfOldestMessage", "{id}");
        assert_eq!(alarm["Dimensions"], queue(id), "{id}");
    }
    for id in template.dead_letter_queues() {
        let alarm = alarm(format!("{id}Alarm"));
        // While `dead-letter` cannot record what it takes, nearly all of it is hidden.
        let counts = &alarm["Metrics"].as_array().unwrap()[1..];
        let names = ["ApproximateNumberOfMessagesVisible", "ApproximateNumberOfMessagesNotVisible"];
        assert_eq!(alarm["Metrics"][0]["Expression"], "visible + hidden", "{id}");
        assert_eq!(counts.iter().map(|count| &count["MetricStat"]["Metric"]["MetricName"]).collect::<Vec<_>>(), names);
        assert!(counts.iter().all(|count| count["MetricStat"]["Metric"]["Dimensions"] == queue(id)), "{id}");
        assert_eq!(alarm["Threshold"], 0, "{id}");
    }
    for (_, base, _) in template.functions() {
        let alarm = alarm(format!("{base}ErrorsAlarm"));
        let function = json!([{"Name": "FunctionName", "Value": {"Ref": format!("{base}Function")}}]);
        assert_eq!((&alarm["MetricName"], &alarm["Dimensions"]), (&json!("Errors"), &function), "{base}");
    }
    // A queue's age leaves out what was received three times: of messages that AWS fails, only the function's own count tells.
    for (folder, base, _) in template.functions().filter(|(_, _, it)| !template.events(it, "SQS").is_empty()) {
        let alarm = alarm(format!("{base}FaultsAlarm"));
        let function = json!([{"Name": "function", "Value": folder}]);
        assert_eq!((&alarm["MetricName"], &alarm["Dimensions"]), (&json!("AwsFault"), &function), "{base}");
        let filter = &template.resource(&format!("{base}FaultMetric"))["Properties"];
        assert_eq!(filter["LogGroupName"], json!({"Ref": format!("{base}LogGroup")}), "{base}");
        let counted = &filter["MetricTransformations"][0];
        assert_eq!(
            (&counted["MetricName"], &counted["MetricValue"]),
            (&json!("AwsFault"), &json!("$.AwsFault")),
            "{base}"
        );
        assert_eq!(counted["Dimensions"], json!([{"Key": "function", "Value": "$.function"}]), "{base}");
    }
    for special in [
        "DeadLetterAlarm",
        "DueLeftAlarm",
        "DueOverdueAlarm",
        "LateDeliveriesAlarm",
        "WindowMissedAlarm",
        "SmsLimitAlarm",
        "ProviderQuotaAlarm",
        "ReleaseSilentAlarm",
        "ApiServerErrorsAlarm",
    ] {
        alarm(special.to_owned());
    }
    for (id, alarm) in &alarms {
        for variables_of in ["AlarmActions", "OKActions"] {
            assert_eq!(alarm[variables_of], json!([{"Ref": "AlarmTopic"}]), "{id}");
        }
        assert!(alarm["AlarmDescription"].as_str().is_some_and(|text| text.ends_with('.')), "{id}");
        assert!(alarm.get("TreatMissingData").is_some(), "{id} does not say what silence means");
    }
    // Somebody else announces that the alerter is ill.
    let mail = json!([{"Protocol": "email", "Endpoint": {"Ref": "OperatorEmail"}}]);
    assert_eq!(template.resource("AlarmTopic")["Properties"]["Subscription"], mail);

    let runbook = file("infra/runbook.md");
    let (of_alarms, _) = runbook.split_once("\n# Incidents without an alarm\n").unwrap();
    let pages: Vec<&str> = of_alarms.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let unique: BTreeSet<&str> = pages.iter().copied().collect();
    assert_eq!(unique.len(), pages.len(), "the runbook has a heading twice");
    assert_eq!(unique, alarms.keys().copied().collect(), "left the runbook's headings, right the alarms");
}

#[test]
fn every_function_has_its_own_log_group_with_a_retention() {
    let template = Template::read();
    for (id, group) in template.of("AWS::Logs::LogGroup") {
        assert_eq!(group["Properties"]["RetentionInDays"], json!({"Ref": "LogRetentionDays"}), "{id}");
    }
    for (folder, base, properties) in template.functions() {
        assert!(template.resource(&format!("{base}LogGroup")).is_object(), "{folder}");
        assert_eq!(properties["LoggingConfig"]["LogGroup"], json!({"Ref": format!("{base}LogGroup")}), "{folder}");
    }
}

#[test]
fn every_function_has_its_own_role() {
    let template = Template::read();
    for (folder, base, properties) in template.functions() {
        // SAM would add managed policies for logs, queues and traces, each of them over `*`; with a role given it does not.
        assert_eq!(arn_of(&properties["Role"]), Some(format!("{base}Role").as_str()), "{folder}");
        let role = &template.resource(&format!("{base}Role"))["Properties"];
        assert_eq!(role["ManagedPolicyArns"], json!([{"Ref": "TracingPolicy"}]), "{folder}");
        let trusted = &role["AssumeRolePolicyDocument"]["Statement"][0]["Principal"];
        assert_eq!(*trusted, json!({"Service": "lambda.amazonaws.com"}), "{folder}");
    }
    // The two more are API Gateway's, for the account's logs (it accepts no smaller one than AWS's own policy), and SNS's for its own.
    assert_eq!(template.of("AWS::IAM::Role").count(), PIPELINE.len() + 2);
}

#[test]
fn policy_statements_name_single_actions_on_single_resources() {
    let template = Template::read();
    let mut exceptions = BTreeSet::new();
    for (holder, statement) in template.statements() {
        let sid = statement["Sid"].as_str().unwrap_or_else(|| panic!("{holder} has a statement without a name"));
        let place = format!("{holder} {sid}");
        assert!(statement.get("NotAction").is_none() && statement.get("NotResource").is_none(), "{place}");
        let actions = texts(&statement["Action"]);
        assert!(!actions.is_empty(), "{place}");
        // AWS authorises SendMessageBatch as sqs:SendMessage; the emulator calls it by its own name. There is no third action.
        let single = |action: &&str| !action.contains('*') || *action == "sqs:SendMessage*";
        assert!(actions.iter().all(single), "{place}: {actions:?}");
        for resource in many(&statement["Resource"]) {
            if resource == "*" {
                exceptions.insert((holder.to_owned(), sid.to_owned()));
                continue;
            }
            // A denial may be as wide as it likes.
            let wide = resource.to_string().contains('*') && statement["Effect"] == "Allow";
            assert!(!wide, "{place} may touch {resource}");
        }
    }
    let listed = WILDCARDS.iter().map(|(holder, sid, _)| ((*holder).to_owned(), (*sid).to_owned())).collect();
    assert_eq!(exceptions, listed, "left the statements over `*`, right those with a reason");

    let pinned =
        &template.statements().into_iter().find(|(_, one)| one["Sid"] == "SendFromOneAddress").unwrap().1["Condition"];
    assert_eq!(*on_aws(pinned), json!({"StringEquals": {"ses:FromAddress": {"Ref": "EmailFrom"}}}));
    let denied = template.statements().into_iter().find(|(_, one)| one["Sid"] == "NeverToTopics").unwrap().1;
    assert_eq!((&denied["Effect"], &denied["Action"]), (&json!("Deny"), &json!("sns:Publish")));
}

#[test]
fn every_table_permission_names_its_key_prefixes() {
    let template = Template::read();
    let spelled = file("shared/store/src/keys.rs") + &file("shared/store/src/public.rs");
    for (holder, statement) in template.statements() {
        let actions = texts(&statement["Action"]);
        let table = actions.iter().filter(|action| action.starts_with("dynamodb:")).count();
        if table == 0 {
            continue;
        }
        let place = format!("{holder} {}", statement["Sid"]);
        assert_eq!(table, actions.len(), "{place} mixes services");
        assert!(!actions.contains(&"dynamodb:Scan"), "{place}: there is no Scan");
        let keys = texts(&statement["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]);
        assert!(!keys.is_empty(), "{place} may touch every item");
        for key in keys {
            let prefix = key.strip_suffix('*').unwrap_or_else(|| panic!("{place}: {key} is no prefix"));
            assert!(prefix.ends_with('#') && prefix.len() > 1, "{place}: {key} is wider than one kind of item");
            assert!(spelled.contains(&format!("\"{prefix}")), "{place}: nothing in the store spells {key}");
        }
        let index = json!({"Fn::Sub": "${Table.Arn}/index/public"});
        let public = statement["Resource"] == index;
        assert!(public || arn_of(&statement["Resource"]) == Some("Table"), "{place}");
        assert_eq!(
            public,
            holder == "StatusPageRole",
            "{place}: the index is for the status page, the table for the others"
        );
        assert!(!public || actions == ["dynamodb:Query"], "{place}");
    }
}

/// Who builds transactions, the prefixes of the items that one of them writes together, and the roles that write it.
const TRANSACTIONS: &[(&str, &[&str], &[&str])] = &[
    (
        "shared/store/src/deliveries",
        &["INC#*", "DUE#*"],
        &[
            "DeliverEmailRole",
            "DeliverSmsRole",
            "DeliverChatRole",
            "DeliverWebhookRole",
            "ReleaseRole",
            "PreferencesApiRole",
        ],
    ),
    (
        "shared/store/src/tenants",
        &["T#*", "SUBS#*"],
        &["PreferencesApiRole", "FeedbackRole", "DeliverChatRole", "DeliverWebhookRole"],
    ),
    ("shared/store/src/credentials.rs", &["T#*", "TOKEN#*"], &["PreferencesApiRole"]),
    ("shared/store/src/data_keys.rs", &["DATAKEY#*", "T#*"], &["PreferencesApiRole"]),
    (
        "shared/store/src/incidents.rs",
        &["EVENT#*", "KEY#*", "ALIAS#*", "INC#*", "T#*", "P#*", "MAINT#*", "REMIND#*"],
        &["ClassifyRole"],
    ),
];

/// AWS documents no rule for the leading keys of a transaction. If a condition is shown all of them, a statement must allow all of them.
#[test]
fn what_a_transaction_writes_together_one_statement_allows_together() {
    let template = Template::read();
    for (builder, together, roles) in TRANSACTIONS {
        for role in *roles {
            let allows = |(holder, statement): &(&str, &Value)| {
                let keys = texts(&statement["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]);
                holder == role
                    && texts(&statement["Action"]).contains(&"dynamodb:PutItem")
                    && together.iter().all(|key| keys.contains(key))
            };
            assert!(
                template.statements().iter().any(allows),
                "{role} writes {together:?} of {builder} by several statements"
            );
        }
    }
}

/// Whoever builds a transaction is in the list.
#[test]
fn every_builder_of_transactions_is_known() {
    let alone = [
        "shared/store/src/lib.rs",
        "shared/store/src/plans.rs",
        "shared/store/src/dead_letters.rs",
        "shared/store/src/contacts.rs",
    ];
    let mut folders = vec![root().join("shared/store/src")];
    let mut builders = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            let source = file(&name);
            let known =
                TRANSACTIONS.iter().any(|(builder, ..)| name.starts_with(builder)) || alone.contains(&name.as_str());
            let builds = source.contains("self.transact(") || source.contains("self.write_mark(");
            assert!(!builds || known, "{name} builds transactions: say with which prefixes, or that they have one");
            builders += usize::from(builds);
        }
    }
    assert!(builders >= 8, "{builders}");
}

#[test]
fn only_one_role_writes_data_keys() {
    let template = Template::read();
    let writers: BTreeSet<String> = template
        .statements()
        .into_iter()
        .filter(|(_, statement)| statement["Condition"].to_string().contains("DATAKEY#*"))
        .filter(|(_, statement)| texts(&statement["Action"]).iter().any(|action| !action.ends_with(":GetItem")))
        .map(|(holder, _)| holder.to_owned())
        .collect();
    assert_eq!(writers, BTreeSet::from(["PreferencesApiRole".to_owned()]));
    let deleting = |(_, statement): &(&str, &Value)| texts(&statement["Action"]).contains(&"dynamodb:DeleteItem");
    let deleters = template.statements().into_iter().filter(deleting);
    assert!(deleters.into_iter().all(|(_, statement)| !statement["Condition"].to_string().contains("DATAKEY#")));
}

/// `ForAllValues` is true of a request without the key, and `…IfExists` of one without the value.
#[test]
fn a_role_without_keys_in_its_request_gets_nothing() {
    let template = Template::read();
    for (holder, statement) in template.statements() {
        let condition = statement["Condition"].to_string();
        if condition.contains("ForAllValues") {
            // The emulator knows no leading keys, so that there the key is always missing.
            let present = json!({"Fn::If": ["OnEmulator", "true", "false"]});
            assert_eq!(
                statement["Condition"]["Null"]["dynamodb:LeadingKeys"], present,
                "{holder} {}",
                statement["Sid"]
            );
        }
        assert!(!on_aws(&statement["Condition"]).to_string().contains("IfExists"), "{holder} {}", statement["Sid"]);
    }
}

#[test]
fn permissions_match_the_resources_in_a_functions_environment() {
    let template = Template::read();
    for (folder, base, properties) in template.functions() {
        let role = format!("{base}Role");
        let own =
            template.statements().into_iter().filter(|(holder, _)| *holder == role).map(|(_, statement)| statement);
        let own: Vec<&Value> = own.collect();
        let over = |action: &str| -> BTreeSet<String> {
            let with = own.iter().filter(|statement| texts(&statement["Action"]).contains(&action));
            with.flat_map(|statement| many(&statement["Resource"])).filter_map(arn_of).map(str::to_owned).collect()
        };
        let variables_of = environment(properties);
        let variables_of: Vec<(&String, Option<&str>)> =
            variables_of.iter().map(|(name, value)| (name, value["Ref"].as_str())).collect();
        let queues = variables_of.iter().filter(|(name, _)| name.ends_with("_QUEUE_URL"));
        let queues: BTreeSet<String> = queues.map(|(_, queue)| queue.unwrap().to_owned()).collect();
        // Queues that AWS services feed have no sender among the functions. A function knows its own queue to return a message to it.
        let fed_by_aws = match folder.as_str() {
            "intake" => Some("IntakeQueue".to_owned()),
            _ => None,
        };
        let sends: BTreeSet<String> = queues.into_iter().filter(|queue| Some(queue) != fed_by_aws.as_ref()).collect();
        assert_eq!(over("sqs:SendMessage*"), sends, "{folder} may send to left and knows right");

        let sources = template.events(properties, "SQS").into_iter();
        let sources: BTreeSet<String> = sources.map(|source| arn_of(&source["Queue"]).unwrap().to_owned()).collect();
        for action in ["ReceiveMessage", "DeleteMessage", "GetQueueAttributes", "ChangeMessageVisibility"] {
            assert_eq!(over(&format!("sqs:{action}")), sources, "{folder} {action}");
        }
        for (name, queue) in &variables_of {
            if let (Some(stem), Some(queue)) = (name.strip_suffix("_QUEUE_URL"), queue) {
                assert_eq!(format!("{}-queue", stem.to_lowercase().replace('_', "-")), kebab(queue), "{folder} {name}");
            }
        }

        // Who knows the key that wraps data keys makes them; the others unwrap what they read.
        let knows_key = variables_of.iter().any(|(name, _)| *name == "KMS_KEY_ID");
        assert_eq!(over("kms:GenerateDataKey").contains("DataKey"), knows_key, "{folder}");
        let keys = own.iter().any(|statement| statement["Condition"].to_string().contains("DATAKEY#*"));
        assert_eq!(
            over("kms:Decrypt").contains("DataKey"),
            keys,
            "{folder}: the data keys go with the key that wraps them"
        );
        assert_eq!(over("logs:PutLogEvents"), BTreeSet::from([format!("{base}LogGroup")]), "{folder}");

        // SES and SNS speak of messages by their ids later.
        let names = own.iter().any(|statement| statement["Condition"].to_string().contains("MSG#*"));
        let speaks_of = ["deliver-email", "deliver-sms", "feedback"].contains(&folder.as_str());
        assert_eq!(names, speaks_of, "{folder}: who sends a message notes whose it was, and feedback finds it");

        let services: BTreeSet<&str> = own
            .iter()
            .flat_map(|statement| texts(&statement["Action"]))
            .map(|action| action.split(':').next().unwrap())
            .filter(|service| !matches!(*service, "logs" | "dynamodb" | "sqs" | "kms"))
            .collect();
        let expected: &[&str] = match folder.as_str() {
            "deliver-email" => &["ses"],
            "deliver-sms" => &["sns"],
            _ => &[],
        };
        assert_eq!(services, expected.iter().copied().collect(), "{folder}");
    }
    for (holder, statement) in template.statements() {
        if texts(&statement["Action"]).contains(&"kms:Decrypt") {
            let context = &on_aws(&statement["Condition"])["StringEquals"]["kms:EncryptionContext:purpose"];
            assert_eq!(context, "tocsin-data-key", "{holder}");
        }
    }
    assert!(file("shared/vault/src/keyring.rs").contains("(\"purpose\", \"tocsin-data-key\")"));
}

#[test]
fn no_resource_has_a_fixed_name() {
    let template = Template::read();
    for (id, resource) in template.section("Resources") {
        let properties = resource["Properties"].as_object().unwrap();
        for name in NAMES {
            // What these name is what they read or let in; that is no name of their own.
            let reads = match resource["Type"].as_str().unwrap() {
                "AWS::Logs::MetricFilter" | "AWS::Logs::SubscriptionFilter" => name == "LogGroupName",
                "AWS::Lambda::Permission" => name == "FunctionName",
                _ => false,
            };
            // SNS names the log groups of text messages itself, once an account and region; they are made only where that is asked for.
            let of_sns = resource["Condition"] == "SetsSmsLogs";
            let reads = reads || (of_sns && name == "LogGroupName");
            assert!(reads || !properties.contains_key(name), "{id} has a {name}: two stacks would not fit one account");
        }
        if let Some(name) = properties.get("Name") {
            assert_eq!(*name, json!({"Ref": "AWS::StackName"}), "{id}");
        }
    }
    for (id, filter) in template.of("AWS::Logs::MetricFilter") {
        let space = &filter["Properties"]["MetricTransformations"][0]["MetricNamespace"];
        assert_eq!(*space, json!({"Fn::Sub": "Tocsin/${AWS::StackName}"}), "{id}");
    }
}

#[test]
fn failed_asynchronous_invocations_are_kept() {
    let template = Template::read();
    // SNS's log invokes feedback; nothing else would know of a line that it lost.
    let kept = &template.resource("FeedbackFunction")["Properties"]["EventInvokeConfig"]["DestinationConfig"];
    assert_eq!(kept["OnFailure"], json!({"Type": "SQS", "Destination": {"Fn::GetAtt": "FeedbackQueue.Arn"}}));
    let subscriptions = template.of("AWS::Logs::SubscriptionFilter");
    assert!(
        subscriptions
            .into_iter()
            .all(|(_, it)| arn_of(&it["Properties"]["DestinationArn"]) == Some("FeedbackFunction"))
    );
}

#[test]
fn outputs_name_every_queue_and_function() {
    let template = Template::read();
    let outputs = template.section("Outputs");
    for (id, _) in template.of("AWS::SQS::Queue") {
        assert_eq!(outputs[&format!("{id}Url")]["Value"], json!({"Ref": id}));
    }
    for (id, _) in template.of("AWS::Serverless::Function") {
        assert_eq!(outputs[&format!("{id}Name")]["Value"], json!({"Ref": id}));
    }
    for name in ["ApiUrl", "ApiId", "StatusPageUrl", "ConsoleUrl", "TableName", "DataKeyId", "AlarmTopicArn", "Region"]
    {
        assert!(outputs.contains_key(name), "there is no output {name}");
    }
    let command = outputs["BootstrapCommand"]["Value"]["Fn::Sub"].as_str().unwrap();
    assert!(command.starts_with("aws lambda invoke ") && command.contains("${PreferencesApiFunction}"), "{command}");
    assert!(command.contains(r#"'{"bootstrap":"platform_admin"}'"#), "{command}");
}

#[test]
fn only_the_local_stage_may_open_the_outbound_guard() {
    let template = Template::read();
    let rule = &template.0["Rules"]["LocalOnly"];
    assert_eq!(rule["RuleCondition"], json!({"Fn::Not": [{"Fn::Equals": [{"Ref": "Stage"}, "local"]}]}));
    for parameter in ["OutboundExceptions", "OutboundExtraRoot", "EmulatorUrl"] {
        assert_eq!(template.0["Parameters"][parameter]["Default"], "", "{parameter}");
        let empty = json!({"Fn::Equals": [{"Ref": parameter}, ""]});
        let asserted = many(&rule["Assertions"]).into_iter().any(|assertion| assertion["Assert"] == empty);
        assert!(asserted, "{parameter} may be set outside the local stage");
    }
    assert_eq!(template.0["Parameters"]["TestClock"]["Default"], "false");
    let off = json!({"Fn::Equals": [{"Ref": "TestClock"}, "false"]});
    assert!(many(&rule["Assertions"]).into_iter().any(|assertion| assertion["Assert"] == off));
    assert_eq!(template.resource("TestClockPolicy")["Condition"], "HasTestClock");
    let settling = domain::data_key::SETTLING.as_secs();
    assert_eq!(template.0["Parameters"]["DataKeySettlingSeconds"]["Default"], settling);
    let as_long = json!({"Fn::Equals": [{"Ref": "DataKeySettlingSeconds"}, settling.to_string()]});
    assert!(many(&rule["Assertions"]).into_iter().any(|assertion| assertion["Assert"] == as_long));
    let variables_of = &template.0["Globals"]["Function"]["Environment"]["Variables"];
    assert_eq!(*variables_of, json!({"TEST_CLOCK_TABLE": {"Fn::If": ["HasTestClock", {"Ref": "Table"}, ""]}}));
    assert_ne!(template.0["Parameters"]["Stage"]["Default"], "local");
}

#[test]
fn the_table_is_protected_and_its_public_index_holds_public_fields_only() {
    let template = Template::read();
    for id in ["Table", "DataKey"] {
        let resource = template.resource(id);
        assert_eq!(resource["DeletionPolicy"], "RetainExceptOnCreate", "{id}");
        assert_eq!(resource["UpdateReplacePolicy"], "Retain", "{id}");
    }
    let table = &template.resource("Table")["Properties"];
    let recovery = &table["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"];
    assert_eq!(*recovery, json!({"Ref": "PointInTimeRecovery"}));
    assert_eq!(table["DeletionProtectionEnabled"], json!({"Ref": "DeletionProtection"}));
    for parameter in ["PointInTimeRecovery", "DeletionProtection"] {
        assert_eq!(template.0["Parameters"][parameter]["Default"], "true", "{parameter}");
    }
    assert_eq!(table["TimeToLiveSpecification"], json!({"AttributeName": "expires_at", "Enabled": true}));
    let index = &table["GlobalSecondaryIndexes"][0];
    assert_eq!(index["IndexName"], "public");
    assert_eq!(index["Projection"], json!({"ProjectionType": "INCLUDE", "NonKeyAttributes": ["public_view"]}));
    assert_eq!(many(&table["GlobalSecondaryIndexes"]).len(), 1);
    assert_eq!(template.resource("DataKey")["Properties"]["EnableKeyRotation"], true);
}

#[test]
fn every_route_has_the_authorizer_unless_it_is_listed() {
    let template = Template::read();
    let mut open = BTreeSet::new();
    let mut routes = BTreeSet::new();
    for (folder, _, properties) in template.functions() {
        for event in template.events(properties, "Api") {
            let (method, path) = (event["Method"].as_str().unwrap(), event["Path"].as_str().unwrap());
            assert_eq!(event["RestApiId"], json!({"Ref": "Api"}), "{path}");
            assert!(routes.insert((method, path)), "{method} {path} is declared twice");
            assert_ne!(method, "ANY", "{path}");
            match event.get("Auth") {
                None => {}
                Some(auth) => {
                    assert_eq!(*auth, json!({"Authorizer": "NONE"}), "{path}");
                    open.insert((method, path));
                }
            }
            // A function on the API cannot have the API's address in its environment: a cycle.
            let variables_of = properties["Environment"].to_string();
            assert!(!variables_of.contains("Api"), "{folder} references the API it is behind, which is circular");
        }
    }
    assert_eq!(open, OPEN_ROUTES.into());
    assert!(routes.contains(&("POST", "/v1/incidents")) && routes.contains(&("POST", "/v1/intake/{format}")));

    let api = &template.resource("Api")["Properties"];
    assert_eq!(api["Auth"]["DefaultAuthorizer"], "Token");
    let authorizer = &api["Auth"]["Authorizers"]["Token"];
    assert_eq!(arn_of(&authorizer["FunctionArn"]), Some("AuthorizerFunction"));
    assert_eq!(authorizer["Identity"]["Headers"], json!(["Authorization"]));
    let cache = &template.0["Parameters"]["AuthorizerCacheSeconds"];
    assert_eq!((&cache["Default"], &cache["MaxValue"]), (&json!(0), &json!(60)));
    // The path holds ids and the tokens of links; the caller's address is nobody's business.
    let logged = api["AccessLogSetting"]["Format"].as_str().unwrap();
    for forbidden in ["$context.path", "sourceIp", "userAgent", "caller", "$context.identity"] {
        assert!(!logged.contains(forbidden), "access logs hold {forbidden}");
    }
    assert!(logged.contains("$context.resourcePath"));
    assert_eq!(api["MethodSettings"][0]["DataTraceEnabled"], false);
    assert_eq!(api["MethodSettings"][0]["LoggingLevel"], "OFF");
}

#[test]
fn api_gateways_own_responses_are_problem_documents() {
    let template = Template::read();
    let answers = template.resource("Api")["Properties"]["GatewayResponses"].as_object().unwrap();
    for expected in ["UNAUTHORIZED", "ACCESS_DENIED", "MISSING_AUTHENTICATION_TOKEN", "REQUEST_TOO_LARGE", "THROTTLED"]
    {
        assert!(answers.contains_key(expected), "{expected}");
    }
    assert!(answers.contains_key("DEFAULT_4XX") && answers.contains_key("DEFAULT_5XX"));
    // Alertmanager drops what gets a 429.
    assert_eq!(answers["THROTTLED"]["StatusCode"], 503);
    assert_eq!(answers["THROTTLED"]["ResponseParameters"]["Headers"]["Retry-After"], "'5'");
    let local: BTreeMap<&str, &Value> = template
        .of("AWS::ApiGateway::GatewayResponse")
        .map(|(_, answer)| (answer["Properties"]["ResponseType"].as_str().unwrap(), &answer["Properties"]))
        .collect();
    assert_eq!(local.len(), answers.len());
    for (kind, answer) in answers {
        let headers = answer["ResponseParameters"]["Headers"].as_object().unwrap();
        assert_eq!(headers["Content-Type"], "'application/problem+json'", "{kind}");
        let found = answer["ResponseTemplates"]["application/json"]["Fn::FindInMap"].as_array().unwrap();
        let body = &template.0["Mappings"]["Problem"][found[1].as_str().unwrap()]["Body"];
        let body: Value =
            serde_json::from_str(body.as_str().unwrap()).unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert!(body["title"].is_string() && body["detail"].is_string(), "{kind}");
        if let Some(status) = answer.get("StatusCode") {
            assert_eq!(body["status"], *status, "{kind}");
        }
        // The emulator needs the same responses as separate resources.
        let twin = local[kind.as_str()];
        let mut same = answer["ResponseTemplates"].clone();
        if kind == "ACCESS_DENIED" {
            // It passes nothing on from the authorizer, so its answer names all that may be the matter.
            same["application/json"]["Fn::FindInMap"][1] = json!("RefusedOnEmulator");
        }
        assert_eq!(twin["ResponseTemplates"], same, "{kind}");
        assert_eq!(twin.get("StatusCode").map(number), answer.get("StatusCode").map(number), "{kind}");
        for (name, value) in headers {
            assert_eq!(twin["ResponseParameters"][format!("gatewayresponse.header.{name}")], *value, "{kind} {name}");
        }
    }
    for (id, resource) in template.section("Resources") {
        let local = id.starts_with("Local");
        assert_eq!(resource.get("Condition") == Some(&json!("OnEmulator")), local, "{id}");
    }
}

#[test]
fn send_rates_follow_from_concurrency_and_pace() {
    let template = Template::read();
    let rates = template.0["Mappings"]["SendRate"].as_object().unwrap();
    for parameter in ["EmailSendRate", "SmsSendRate"] {
        let allowed: BTreeSet<&str> =
            texts(&template.0["Parameters"][parameter]["AllowedValues"]).into_iter().collect();
        assert_eq!(allowed, rates.keys().map(String::as_str).collect(), "{parameter}");
    }
    for (rate, row) in rates {
        let interval = number(&row["IntervalMs"]);
        let environments = number(&row["Urgent"]) + number(&row["Bulk"]);
        // The emulator hands numbers of a mapping to Lambda as numbers, where a variable must be text.
        assert!(row["IntervalMs"].is_string(), "{rate}");
        assert!(number(&row["Urgent"]) >= 2 && number(&row["Bulk"]) >= 2, "{rate}: Lambda takes no less than 2");
        match rate.parse::<u64>() {
            Ok(rate) => assert_eq!(environments * 1_000 / interval, rate, "{rate}"),
            Err(_) => assert_eq!((rate.as_str(), interval), ("none", 0)),
        }
        // The last of a batch waits for its turn and must still be sent within the function's 8 seconds.
        assert!((number(&row["BatchSize"]) - 1) * interval <= 4_000, "{rate}");
    }
}

#[test]
fn release_reads_every_due_shard_each_minute() {
    let template = Template::read();
    let ids = file("shared/domain/src/ids.rs");
    let constant = |name: &str| -> u64 {
        let found = ids.lines().find_map(|line| line.strip_prefix(&format!("pub const {name}: u16 = "))).unwrap();
        found.trim_end_matches(';').parse().unwrap()
    };
    let (shards, schedules) = (constant("DUE_SHARDS"), constant("DUE_SCHEDULES"));
    assert_eq!((shards, shards % schedules), (64, 0), "the shards of release 0.1.0 would be read by other schedules");
    let written = &template.0["Parameters"]["DueShards"];
    assert_eq!((&written["Default"], &written["AllowedValues"]), (&json!(shards), &json!([8, shards])));
    let properties = &template.resource("ReleaseFunction")["Properties"];
    let started: BTreeSet<String> = template
        .events(properties, "Schedule")
        .into_iter()
        .map(|event| {
            assert_eq!(event["Schedule"], "rate(1 minute)");
            event["Input"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(started, (0..schedules).map(|shard| json!({ "shard": shard }).to_string()).collect());
    assert!(number(&properties["Timeout"]) < 60, "two runs of a shard would meet");
    assert_eq!(properties["EventInvokeConfig"]["MaximumRetryAttempts"], 0);
}

#[test]
fn every_skipped_checkov_rule_has_a_reason() {
    let template = Template::read();
    let reasons = template.0["Metadata"]["CheckovSkips"].as_object().unwrap();
    assert!(reasons.len() <= 10, "{} skips", reasons.len());
    assert!(reasons.values().all(|reason| reason.as_str().is_some_and(|text| text.len() > 40)));
    let config = yaml("infra/local/checkov.yaml");
    let skipped: BTreeSet<&str> = texts(&config["skip-check"]).into_iter().collect();
    assert_eq!(skipped, reasons.keys().map(String::as_str).collect());
}

#[test]
fn samconfig_has_what_every_stage_needs() {
    let config = file("samconfig.toml");
    for stage in ["default", "local", "prod"] {
        assert!(config.contains(&format!("[{stage}.validate.parameters]\nlint = true\n")), "{stage}");
        let deploy =
            config.split(&format!("[{stage}.deploy.parameters]\n")).nth(1).unwrap_or_else(|| panic!("{stage}"));
        let deploy = deploy.split("\n[").next().unwrap();
        assert!(deploy.contains("capabilities = \"CAPABILITY_IAM\"\nresolve_s3 = true\n"), "{stage}");
    }
    // SAM's cache looks at functions/<name> only: after a change in shared/ it would ship an old binary.
    assert!(!config.contains("cached = true"));
    let pinned = |line: &&str| !line.starts_with('#') && (line.contains("s3_bucket") || line.contains("arn:"));
    assert_eq!(config.lines().find(pinned), None, "samconfig.toml names something of one account");
}

#[test]
fn whoever_sends_to_its_own_queue_says_so() {
    // AWS ends a chain of one function and one queue after 16 invocations and drops its message.
    let template = Template::read();
    let statements = template.statements();
    let mut loops = BTreeSet::new();
    for (folder, base, properties) in template.functions() {
        let queues: Vec<&Value> = template.events(properties, "SQS").into_iter().map(|event| &event["Queue"]).collect();
        let role = format!("{base}Role");
        let sends_to = statements.iter().filter(|(id, statement)| {
            let actions = statement["Action"].as_array().into_iter().flatten();
            *id == role
                && actions.into_iter().filter_map(Value::as_str).any(|action| action.starts_with("sqs:SendMessage"))
        });
        let targets = sends_to.flat_map(|(_, statement)| match &statement["Resource"] {
            Value::Array(many) => many.iter().collect(),
            one => vec![one],
        });
        let is_loop = targets.into_iter().any(|target| queues.contains(&target));
        assert_eq!(properties["RecursiveLoop"] == "Allow", is_loop, "{folder}");
        loops.extend(is_loop.then_some(folder));
    }
    assert!(loops.contains("subscription-lookup") && loops.contains("deliver-webhook"), "{loops:?}");
}
