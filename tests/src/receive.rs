//! Reads what arrived: e-mails and text messages at the emulator, requests at the receivers.

use crate::{Stack, http, wait};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

/// One message that arrived on any channel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrival {
    /// `email`, `sms`, or the path of a receiver.
    pub channel: String,
    /// The address, the number, or the path.
    pub to: String,
    /// Subject and text of an e-mail, text of an SMS, or body of a request.
    pub text: String,
}

impl Stack {
    fn fetch_json(&self, url: &str) -> Value {
        http::send("GET", url, &[], None).map(|answer| answer.json()).unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    /// Returns every e-mail that SES accepted, in this order, also before the emulator was started again: it forgets them then.
    fn accepted_mails(&self) -> Vec<Value> {
        let mut mails = Vec::new();
        let kept = std::fs::read_dir(self.folder("mails")).expect("the folder was made").flatten();
        let kept: BTreeSet<PathBuf> = kept.map(|entry| entry.path()).collect();
        for file in kept.iter().filter_map(|file| std::fs::read(file).ok()) {
            let earlier: Vec<Value> = serde_json::from_slice(&file).expect("kept mails are JSON");
            mails.extend(earlier);
        }
        let all = self.fetch_json(&format!("{}/_ministack/ses/messages", self.text("/emulator_url")));
        mails.extend(records(&all["messages"]).into_iter().cloned());
        mails
    }

    /// Keeps the e-mails that SES accepted so far for the time after the emulator's restart.
    pub(crate) fn keep_mails(&self) {
        let all = self.fetch_json(&format!("{}/_ministack/ses/messages", self.text("/emulator_url")));
        let file = self.folder("mails").join(format!("{}-{}.json", crate::in_seconds(0), crate::unique()));
        std::fs::write(file, json!(records(&all["messages"])).to_string()).expect("the folder was made");
    }

    /// Returns every e-mail whose subject or text contains `mark`.
    #[must_use]
    pub fn mails(&self, mark: &str) -> Vec<Arrival> {
        let mut found = Vec::new();
        for message in &self.accepted_mails() {
            let words = format!("{}\n{}", text(message, "/Subject"), text(message, "/BodyText"));
            if words.contains(mark) {
                found.push(Arrival { channel: "email".into(), to: text(message, "/To/0"), text: words });
            }
        }
        found
    }

    /// Waits for an e-mail to `address` that contains `mark` and a link with `part`, and returns the link of the newest one. No log may hold the
    /// link's token.
    #[must_use]
    pub fn mail_link(&self, mark: &str, address: &str, part: &str) -> String {
        let link = wait(&format!("an e-mail with {part}"), Duration::from_secs(60), || {
            let mail = self.mails(mark).into_iter().rfind(|mail| mail.to == address && mail.text.contains(part))?;
            // Quoted-printable breaks long lines; the emulator decodes most of it, and what is left is undone here.
            let words = mail.text.replace("=\r\n", "").replace("=\n", "");
            let at = words.find(part)?;
            let begin = words[..at].rfind("http")?;
            let end = words[at..].find(|c: char| c.is_whitespace() || "<>\")".contains(c));
            let end = end.map_or(words.len(), |end| at + end);
            Some(words[begin..end].trim_end_matches('.').to_owned())
        });
        self.secret(link.split("t=").nth(1).unwrap_or_default());
        link
    }

    /// Returns the HTML of the first e-mail to `address` whose subject contains `mark`.
    #[must_use]
    pub fn mail_html(&self, mark: &str, address: &str) -> Option<String> {
        let found = |message: &&Value| text(message, "/To/0") == address && text(message, "/Subject").contains(mark);
        self.accepted_mails().iter().find(found).map(|message| text(message, "/BodyHtml"))
    }

    /// Returns when SES accepted each e-mail to `address` that contains `mark`, in Unix seconds. Shows how far apart duplicates are.
    #[must_use]
    pub fn mailed_at(&self, mark: &str, address: &str) -> Vec<f64> {
        let all = self.accepted_mails().into_iter();
        let here = all.filter(|message| text(message, "/To/0") == address && message.to_string().contains(mark));
        here.filter_map(|message| message["Timestamp"].as_f64()).collect()
    }

    /// Returns every text message to a phone number.
    #[must_use]
    pub fn texts(&self, phone: &str) -> Vec<Arrival> {
        let all = self.fetch_json(&format!("{}/_ministack/sns/sms-messages", self.text("/emulator_url")));
        let messages = records(&all["sms_messages"]).into_iter();
        let messages = messages.filter(|message| text(message, "/PhoneNumber") == phone);
        let words = |message: &Value| text(message, "/Message");
        messages.map(|m| Arrival { channel: "sms".into(), to: phone.to_owned(), text: words(m) }).collect()
    }

    /// Returns the requests that a receiver got, as `{received_at, method, path, headers, body}`; those of all receivers for an empty path.
    #[must_use]
    pub fn inbox(&self, path: &str) -> Vec<Value> {
        let all = self.fetch_json(&format!("{}/inbox{path}", self.text("/control_url")));
        all.as_array().cloned().unwrap_or_default()
    }

    /// Sets how a receiver answers from now on.
    pub fn behave(&self, path: &str, behaviour: Value) {
        let url = format!("{}/behave{path}", self.text("/control_url"));
        let answer = http::send("PUT", &url, &[], Some(behaviour.to_string().as_bytes())).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
    }

    /// Makes a receiver answer 200 again.
    pub fn heal(&self, path: &str) {
        drop(http::send("DELETE", &format!("{}/behave{path}", self.text("/control_url")), &[], None).unwrap());
    }
}

/// Flattens the emulator's lists, which are grouped by account, region or number.
fn records(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(list) => list.iter().collect(),
        Value::Object(map) => map.values().flat_map(records).collect(),
        _ => Vec::new(),
    }
}

/// Returns a text by its JSON pointer; empty if there is none.
#[must_use]
pub fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Parses the JSON body of a request that a receiver got.
#[must_use]
pub fn body(request: &Value) -> Value {
    serde_json::from_str(request["body"].as_str().unwrap_or_default()).unwrap_or(json!(null))
}
