//! A real browser, and what is asked of every page: a picture of it under `target/screens`, nothing that axe-core finds, nothing wider
//! than its window.

use fantoccini::wd::Capabilities;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tests::npm::node_modules;
use tests::{Stack, wait};

/// What an element must be found within.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// chromedriver, ended with this value.
pub(crate) struct Driver(Child);

impl Drop for Driver {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

pub(crate) fn driver() -> (Driver, u16) {
    // A port that was free a moment ago; whoever takes it in between makes the next try.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = Command::new("chromedriver");
    command.arg(format!("--port={port}")).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().expect("chromedriver is on the path; apt-get install -y chromium chromium-driver");
    wait("chromedriver", PATIENCE, || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    (Driver(child), port)
}

/// A browser with an empty profile.
pub(crate) struct Browser {
    pub(crate) client: Client,
    pub(crate) stack: Stack,
    axe: String,
}

impl Browser {
    pub(crate) async fn open(stack: &Stack, port: u16, dark: bool) -> Self {
        let mut arguments = vec![
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-quic",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1280,1100",
        ];
        if dark {
            arguments.push("--force-dark-mode");
            arguments.push("--blink-settings=preferredColorScheme=0");
        }
        let mut capabilities = Capabilities::new();
        capabilities.insert("goog:chromeOptions".to_owned(), json!({"args": arguments}));
        let mut builder = ClientBuilder::new(HttpConnector::new());
        let client = builder.capabilities(capabilities).connect(&format!("http://127.0.0.1:{port}")).await.unwrap();
        Self {
            client,
            stack: stack.clone(),
            axe: std::fs::read_to_string(node_modules(stack).join("axe-core/axe.min.js")).unwrap(),
        }
    }

    /// Runs a script in the page and returns what it returns.
    pub(crate) async fn script(&self, script: &str, arguments: Vec<Value>) -> Value {
        self.client.execute(script, arguments).await.unwrap()
    }

    pub(crate) async fn find(&self, css: &str) -> fantoccini::elements::Element {
        let found = self.client.wait().at_most(PATIENCE).for_element(Locator::Css(css)).await;
        found.unwrap_or_else(|error| panic!("{css}: {error}"))
    }

    pub(crate) async fn xpath(&self, path: &str) -> fantoccini::elements::Element {
        let found = self.client.wait().at_most(PATIENCE).for_element(Locator::XPath(path)).await;
        found.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Clicks the button with these words, in the dialog if one is open.
    pub(crate) async fn press(&self, words: &str) {
        let open = !self.client.find_all(Locator::Css("dialog[open]")).await.unwrap().is_empty();
        let root = if open { "//dialog" } else { "//body" };
        let button = self.xpath(&format!("{root}//button[normalize-space()='{words}']")).await;
        self.script("arguments[0].scrollIntoView({block: 'center'})", vec![serde_json::to_value(&button).unwrap()])
            .await;
        button.click().await.unwrap_or_else(|error| panic!("{words}: {error}"));
    }

    /// Types into the field with this label.
    pub(crate) async fn fill(&self, label: &str, text: &str) {
        let open = !self.client.find_all(Locator::Css("dialog[open]")).await.unwrap().is_empty();
        let root = if open { "//dialog" } else { "//main" };
        let field = self.xpath(&format!("{root}//*[@id=//label[normalize-space()='{label}']/@for]")).await;
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    /// Chooses in the list with this label.
    pub(crate) async fn choose(&self, label: &str, value: &str) {
        let open = !self.client.find_all(Locator::Css("dialog[open]")).await.unwrap().is_empty();
        let root = if open { "//dialog" } else { "//main" };
        let list = self.xpath(&format!("{root}//select[@id=//label[normalize-space()='{label}']/@for]")).await;
        list.select_by_value(value).await.unwrap();
    }

    /// Saves, and waits for the message of this save, not of an earlier one.
    pub(crate) async fn save(&self) {
        self.script("document.getElementById('status').textContent = ''", vec![]).await;
        self.press("Save").await;
        self.status("Saved.").await;
    }

    /// Ticks or unticks the box with this label, or this accessible name.
    pub(crate) async fn tick(&self, label: &str, on: bool) {
        let path = format!(
            "//input[@type='checkbox'][@id=//label[normalize-space()='{label}']/@for or @aria-label='{label}']"
        );
        let found = self.client.find_all(Locator::XPath(&path)).await.unwrap();
        let open = !self.client.find_all(Locator::Css("dialog[open]")).await.unwrap().is_empty();
        let boxed = if open { found.last() } else { found.first() };
        let boxed = boxed.unwrap_or_else(|| panic!("there is no box {label}")).clone();
        self.script("arguments[0].scrollIntoView({block: 'center'})", vec![serde_json::to_value(&boxed).unwrap()])
            .await;
        if boxed.is_selected().await.unwrap() != on {
            boxed.click().await.unwrap();
        }
    }

    pub(crate) async fn status(&self, part: &str) {
        let path = format!("//*[@id='status'][contains(., \"{part}\")]");
        let found = self.client.wait().at_most(Duration::from_secs(100)).for_element(Locator::XPath(&path)).await;
        if found.is_err() {
            let now = self.find("#status").await.text().await.unwrap();
            panic!("the status is not {part:?} but {now:?}");
        }
    }

    pub(crate) async fn text(&self) -> String {
        self.find("main").await.text().await.unwrap()
    }

    /// Writes a screenshot to target/screens.
    pub(crate) async fn photograph(&self, name: &str) {
        let picture = self.client.screenshot().await.unwrap();
        let folder = self.stack.target().join("screens");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{name}.png")), picture).unwrap();
    }

    /// Writes a screenshot, and asserts that axe finds no accessibility violation and that the page is not wider than its window.
    pub(crate) async fn look(&self, name: &str) {
        self.inspect(name, "{resultTypes: ['violations']}").await;
    }

    /// As [`Self::look`], for an e-mail: it has no landmarks, because a mail client shows it inside of its own.
    pub(crate) async fn look_at_mail(&self, name: &str) {
        self.inspect(name, "{resultTypes: ['violations'], runOnly: {type: 'tag', values: ['wcag2a', 'wcag2aa']}}")
            .await;
    }

    async fn inspect(&self, name: &str, options: &str) {
        self.photograph(name).await;
        // Through the driver, not the page: the page's policy lets nothing in.
        self.script(&self.axe, vec![]).await;
        let run = format!(
            "const done = arguments[arguments.length - 1]; axe.run(document, {options}).then((r) => \
             done(r.violations.map((v) => [v.id, v.nodes.map((n) => n.html + ' :: ' + n.failureSummary)])), \
             (e) => done(String(e)))"
        );
        let found = self.client.execute_async(&run, vec![]).await.unwrap();
        assert_eq!(found, json!([]), "{name}: {found:#}");
        let wide = self
            .script("return document.documentElement.scrollWidth - document.documentElement.clientWidth", vec![])
            .await;
        assert!(wide.as_i64().unwrap() <= 1, "{name} is wider than its window by {wide}");
    }

    pub(crate) async fn section(&self, name: &str) {
        self.press(name).await;
        self.xpath(&format!("//nav//button[@aria-current and normalize-space()='{name}']")).await;
        self.client.wait().at_most(PATIENCE).for_element(Locator::Css("#view > *:not(.quiet)")).await.unwrap();
    }
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}
