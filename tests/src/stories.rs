//! Draws the stories of `shared/pipeline` from their sources: which effect may follow which.
//!
//! It reads what an effect's `answered` may construct, itself or by the functions that it calls. Conditions are not followed, so an arrow says
//! that a step may follow, not when.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use syn::visit::Visit;
use syn::{Expr, Fields, FnArg, ImplItem, Item, Pat, Type};

/// The stories: file stem in `shared/pipeline/src`, name of the enum, and what it is about.
const STORIES: [(&str, &str, &str); 6] = [
    ("classify", "Classify", "A received event, update, note or reminder"),
    ("route", "Route", "A routing job"),
    ("deliver", "Deliver", "One message to one destination"),
    ("release", "Release", "One run over the due index"),
    ("feedback", "Feedback", "A provider's report"),
    ("confirm", "Confirm", "A confirmation request"),
];

/// A function or method, with what its body constructs and calls.
#[derive(Default)]
struct Function {
    /// Names of its parameters, `self` included.
    parameters: Vec<String>,
    body: Reached,
    /// The first value of each local variable.
    locals: BTreeMap<String, Reached>,
    /// What it puts into a field `then`, by step.
    then: Vec<(String, Reached)>,
}

/// What an expression may lead to.
#[derive(Clone, Default)]
struct Reached {
    /// Variants of the story that it constructs.
    variants: BTreeSet<String>,
    /// Functions that it calls, with what each argument leads to.
    calls: Vec<(String, Vec<Reached>)>,
    /// Steps that it constructs.
    structs: BTreeSet<String>,
    /// Variables that it names.
    names: BTreeSet<String>,
}

/// The sources of one story.
#[derive(Default)]
struct Story {
    enum_name: String,
    /// Each variant with the type of its step, if it has one, and its documentation.
    variants: Vec<(String, Option<String>, String)>,
    functions: BTreeMap<String, Vec<Function>>,
    /// Steps that keep what comes next in a field `then`.
    keeps_next: BTreeSet<String>,
}

/// Collects what an expression leads to. Closures count as part of it.
struct Collect<'a> {
    enum_name: &'a str,
    owner: Option<&'a str>,
    reached: Reached,
    locals: BTreeMap<String, Reached>,
    then: Vec<(String, Reached)>,
}

impl<'a> Collect<'a> {
    fn new(enum_name: &'a str, owner: Option<&'a str>) -> Self {
        Self { enum_name, owner, reached: Reached::default(), locals: BTreeMap::new(), then: Vec::new() }
    }

    fn sub(&mut self, expression: &Expr) -> Reached {
        let mut inner = Self::new(self.enum_name, self.owner);
        inner.visit_expr(expression);
        self.then.append(&mut inner.then);
        self.locals.append(&mut inner.locals);
        inner.reached
    }

    fn path(&mut self, path: &syn::Path) -> Option<String> {
        let names: Vec<String> = path.segments.iter().map(|one| one.ident.to_string()).collect();
        match names.as_slice() {
            [.., owner, variant] if owner == self.enum_name => {
                self.reached.variants.insert(variant.clone());
                None
            }
            [one] => {
                self.reached.names.insert(one.clone());
                Some(one.clone())
            }
            [.., owner, name] if owner == "Self" => Some(format!("{}::{name}", self.owner.unwrap_or_default())),
            [.., owner, name] if owner.chars().next().is_some_and(char::is_uppercase) => {
                Some(format!("{owner}::{name}"))
            }
            [.., name] => Some(name.clone()),
            [] => None,
        }
    }
}

impl<'ast> Visit<'ast> for Collect<'_> {
    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        let name = match &*call.func {
            Expr::Path(function) => self.path(&function.path),
            _ => None,
        };
        let arguments: Vec<Reached> = call.args.iter().map(|argument| self.sub(argument)).collect();
        // A variant of the story keeps its step; anything else that cannot be resolved leads to whatever it is given.
        self.reached.calls.push((name.unwrap_or_default(), arguments));
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let mut arguments = vec![self.sub(&call.receiver)];
        for argument in &call.args {
            let reached = self.sub(argument);
            arguments.push(reached);
        }
        self.reached.calls.push((format!(".{}", call.method), arguments));
    }

    fn visit_expr_path(&mut self, path: &'ast syn::ExprPath) {
        // A function that is passed on is named with its type; a single name is a variable.
        if let Some(name) = self.path(&path.path).filter(|_| path.path.segments.len() > 1) {
            self.reached.calls.push((name, Vec::new()));
        }
    }

    fn visit_expr_struct(&mut self, literal: &'ast syn::ExprStruct) {
        let name = literal.path.segments.last().map(|one| one.ident.to_string()).unwrap_or_default();
        let name = if name == "Self" { self.owner.unwrap_or_default().to_owned() } else { name };
        self.reached.structs.insert(name.clone());
        for field in &literal.fields {
            let reached = self.sub(&field.expr);
            if matches!(&field.member, syn::Member::Named(member) if member == "then") {
                self.then.push((name.clone(), reached));
            } else {
                self.merge(reached);
            }
        }
        if let Some(rest) = &literal.rest {
            let reached = self.sub(rest);
            self.merge(reached);
        }
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        let Some(init) = &local.init else { return };
        let reached = self.sub(&init.expr);
        if let Some((_, diverge)) = &init.diverge {
            let diverged = self.sub(diverge);
            self.merge(diverged);
        }
        match &local.pat {
            Pat::Ident(name) => {
                self.locals.insert(name.ident.to_string(), reached);
            }
            Pat::Type(typed) => {
                if let Pat::Ident(name) = &*typed.pat {
                    self.locals.insert(name.ident.to_string(), reached);
                }
            }
            _ => self.merge(reached),
        }
    }
}

impl Collect<'_> {
    fn merge(&mut self, other: Reached) {
        self.reached.variants.extend(other.variants);
        self.reached.calls.extend(other.calls);
        self.reached.structs.extend(other.structs);
        self.reached.names.extend(other.names);
    }
}

impl Story {
    fn read(sources: &Path, stem: &str, enum_name: &str) -> Self {
        let mut story = Self { enum_name: enum_name.to_owned(), ..Self::default() };
        let mut files = vec![sources.join(format!("{stem}.rs"))];
        let inner = sources.join(stem).read_dir().into_iter().flatten();
        files.extend(
            inner.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "rs")),
        );
        files.sort();
        for file in files.iter().filter(|file| !file.ends_with("tests.rs")) {
            let text = std::fs::read_to_string(file).unwrap();
            syn::parse_file(&text).unwrap().items.iter().for_each(|item| story.add(item));
        }
        assert!(!story.variants.is_empty(), "{stem}.rs has no enum {enum_name}");
        story
    }

    fn add(&mut self, item: &Item) {
        match item {
            Item::Enum(one) if one.ident == self.enum_name => {
                for variant in &one.variants {
                    let step = variant.fields.iter().next().map(|field| type_name(&field.ty));
                    self.variants.push((variant.ident.to_string(), step, documentation(&variant.attrs)));
                }
            }
            Item::Struct(one) => {
                if let Fields::Named(fields) = &one.fields
                    && fields.named.iter().any(|field| field.ident.as_ref().is_some_and(|name| name == "then"))
                {
                    self.keeps_next.insert(one.ident.to_string());
                }
            }
            Item::Fn(one) => self.add_function(None, &one.sig, &one.block),
            Item::Impl(one) => {
                let owner = type_name(&one.self_ty);
                for inner in &one.items {
                    if let ImplItem::Fn(method) = inner {
                        self.add_function(Some(&owner), &method.sig, &method.block);
                    }
                }
            }
            _ => {}
        }
    }

    fn add_function(&mut self, owner: Option<&str>, signature: &syn::Signature, block: &syn::Block) {
        let parameter = |input: &FnArg| match input {
            FnArg::Receiver(_) => "self".to_owned(),
            FnArg::Typed(typed) => match &*typed.pat {
                Pat::Ident(name) => name.ident.to_string(),
                _ => String::new(),
            },
        };
        let mut collect = Collect::new(&self.enum_name, owner);
        collect.visit_block(block);
        let Collect { reached: body, locals, then, .. } = collect;
        let name = owner.map_or_else(|| signature.ident.to_string(), |owner| format!("{owner}::{}", signature.ident));
        let parameters = signature.inputs.iter().map(parameter).collect();
        self.functions.entry(name).or_default().push(Function { parameters, body, locals, then });
    }

    /// The functions that a call may mean.
    fn called(&self, name: &str, structs: &BTreeSet<String>) -> Vec<&Function> {
        if name == ".answered" {
            // Only of a step that was made right there.
            return structs.iter().flat_map(|one| self.exactly(&format!("{one}::answered"))).collect();
        }
        match name.strip_prefix('.') {
            Some(method) => {
                let suffix = format!("::{method}");
                let named = self.functions.iter().filter(move |(key, _)| key.ends_with(&suffix));
                named.flat_map(|(_, functions)| functions).collect()
            }
            None => self.exactly(name).iter().collect(),
        }
    }

    fn exactly(&self, name: &str) -> &[Function] {
        self.functions.get(name).map_or(&[], Vec::as_slice)
    }

    /// The variants that an expression in the body of `function` may lead to.
    fn reach(&self, reached: &Reached, function: &Function) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        self.collect(reached, function, &mut BTreeSet::new(), &mut found);
        found
    }

    /// Adds what `reached` leads to, unless that was `seen` before.
    fn collect(
        &self,
        reached: &Reached,
        function: &Function,
        seen: &mut BTreeSet<(usize, usize)>,
        found: &mut BTreeSet<String>,
    ) {
        if !seen.insert((std::ptr::from_ref(reached).addr(), std::ptr::from_ref(function).addr())) {
            return;
        }
        found.extend(reached.variants.iter().cloned());
        for local in reached.names.iter().filter_map(|name| function.locals.get(name)) {
            self.collect(local, function, seen, found);
        }
        for (name, arguments) in &reached.calls {
            let called = self.called(name, &function.all_structs());
            for callee in &called {
                self.collect(&callee.body, callee, seen, found);
            }
            for (place, argument) in arguments.iter().enumerate() {
                let returned = |callee: &&Function| {
                    callee.parameters.get(place).is_some_and(|name| callee.body.names.contains(name))
                };
                if called.is_empty() || called.iter().any(returned) {
                    self.collect(argument, function, seen, found);
                }
            }
        }
    }

    /// The variants that may follow a step.
    fn successors(&self, step: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for function in self.exactly(&format!("{step}::answered")) {
            found.extend(self.reach(&function.body, function));
        }
        if self.keeps_next.contains(step) {
            for (name, function) in self.functions.iter().flat_map(|(name, all)| all.iter().map(move |one| (name, one)))
            {
                for (_, kept) in function.then.iter().filter(|(of, _)| of == step) {
                    found.extend(self.reach(kept, function));
                    for parameter in kept.all_names() {
                        found.extend(self.given(name, function, &parameter));
                    }
                }
            }
        }
        found
    }

    /// What the callers of a function give it as a parameter.
    fn given(&self, name: &str, function: &Function, parameter: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let Some(place) = function.parameters.iter().position(|one| one == parameter) else { return found };
        let method = name.split_once("::").map(|(_, method)| format!(".{method}"));
        for caller in self.functions.values().flatten() {
            for (called, arguments) in caller.all_calls() {
                if called == name || Some(&called) == method.as_ref() {
                    let given = arguments.get(place).map(|given| self.reach(given, caller));
                    found.extend(given.unwrap_or_default());
                }
            }
        }
        found
    }

    /// The variants that a story may begin with.
    fn beginnings(&self) -> BTreeSet<String> {
        self.exactly("begin").iter().flat_map(|function| self.reach(&function.body, function)).collect()
    }

    fn draw(&self) -> String {
        let mut text = "```mermaid\nstateDiagram-v2\n".to_owned();
        let order = |names: BTreeSet<String>| {
            let known = self.variants.iter().map(|(name, _, _)| name).filter(move |name| names.contains(*name));
            known.cloned().collect::<Vec<_>>()
        };
        let named = |name: &str| if name == "End" { "[*]".to_owned() } else { name.to_owned() };
        for first in order(self.beginnings()) {
            writeln!(text, "  [*] --> {}", named(&first)).unwrap();
        }
        for (name, step, _) in &self.variants {
            let Some(step) = step.as_deref().filter(|_| name != "End") else { continue };
            for next in order(self.successors(step)) {
                writeln!(text, "  {name} --> {}", named(&next)).unwrap();
            }
        }
        text.push_str("```\n\n| Step | Effect |\n|---|---|\n");
        for (name, _, documentation) in self.variants.iter().filter(|(name, _, _)| name != "End") {
            writeln!(text, "| `{name}` | {documentation} |").unwrap();
        }
        text
    }
}

impl Function {
    fn all_structs(&self) -> BTreeSet<String> {
        let mut structs = self.body.all_structs();
        self.locals.values().for_each(|local| structs.extend(local.all_structs()));
        structs
    }

    fn all_calls(&self) -> Vec<(String, Vec<Reached>)> {
        let mut calls = self.body.all_calls();
        self.locals.values().for_each(|local| calls.extend(local.all_calls()));
        self.then.iter().for_each(|(_, kept)| calls.extend(kept.all_calls()));
        calls
    }
}

impl Reached {
    fn arguments(&self) -> impl Iterator<Item = &Self> {
        self.calls.iter().flat_map(|(_, arguments)| arguments)
    }

    fn all_structs(&self) -> BTreeSet<String> {
        let inner = self.arguments().flat_map(Self::all_structs);
        self.structs.iter().cloned().chain(inner).collect()
    }

    fn all_names(&self) -> BTreeSet<String> {
        let inner = self.arguments().flat_map(Self::all_names);
        self.names.iter().cloned().chain(inner).collect()
    }

    fn all_calls(&self) -> Vec<(String, Vec<Self>)> {
        let inner = self.arguments().flat_map(Self::all_calls);
        self.calls.iter().cloned().chain(inner).collect()
    }
}

/// The name of a type without its module; of what is in a `Box`, if it is one.
fn type_name(of: &Type) -> String {
    let Type::Path(path) = of else { return String::new() };
    let Some(last) = path.path.segments.last() else { return String::new() };
    if last.ident == "Box"
        && let syn::PathArguments::AngleBracketed(inner) = &last.arguments
        && let Some(syn::GenericArgument::Type(inner)) = inner.args.first()
    {
        return type_name(inner);
    }
    last.ident.to_string()
}

/// The documentation in attributes, as one line.
fn documentation(attributes: &[syn::Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        syn::Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(literal) => match &literal.lit {
                syn::Lit::Str(text) => Some(text.value().trim().to_owned()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    });
    lines.collect::<Vec<_>>().join(" ")
}

/// Returns `docs/stories.md` as the sources in `shared/pipeline/src` give it.
#[must_use]
pub fn document(sources: &Path) -> String {
    let mut text = "# The stories of the queue functions\n\n\
        Made from `shared/pipeline/src` by `cargo run -q -p tests --example stories`; do not edit it. A state is the next effect, an arrow says \
        which one\nmay follow it. ARCHITECTURE.md tells them in words.\n"
        .to_owned();
    for (stem, enum_name, about) in STORIES {
        let story = Story::read(sources, stem, enum_name);
        write!(text, "\n## {about}\n\n`{stem}.rs`, {} steps.\n\n{}", story.variants.len() - 1, story.draw()).unwrap();
    }
    text
}
