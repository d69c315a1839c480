//! The OpenAPI document as a page, made once at start-up. It works without a script.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::Value;

use crate::error::Code;
use crate::openapi::{Chapter, Operation, operation_id, operations};

const EYE: &str = "<svg viewBox=\"0 0 32 32\" aria-hidden=\"true\" fill=\"none\" stroke=\"currentColor\" \
                   stroke-width=\"2.4\"><path d=\"M2.5 16S8 6.5 16 6.5 29.5 16 29.5 16 24 25.5 16 25.5 2.5 16 2.5 \
                   16Z\"/><circle cx=\"16\" cy=\"16\" r=\"4.4\" fill=\"currentColor\"/></svg>";

const START: &str = "curl http://127.0.0.1:7070/v1/events \\\n  -H 'Authorization: Token eye_sk_…' \\\n  \
                     -H 'Content-Type: application/json' \\\n  \
                     -d '{\"session_id\":\"s1\",\"category\":\"page\",\"name\":\"view\",\"data\":{\"path\":\"/\"}}'";

/// The page for this document.
pub(super) fn page(document: &Value) -> String {
    let mut html = String::with_capacity(128 * 1024);
    html.push_str(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>API · The Eye</title>\n\
         <link rel=\"icon\" href=\"data:,\">\n<link rel=\"stylesheet\" href=\"/pages/style.css\">\n</head>\n<body>\n\
         <a class=\"skip\" href=\"#main\">Skip to the content</a>\n<div class=\"docs\">\n",
    );
    side(&mut html);
    html.push_str("<main class=\"main\" id=\"main\">\n");
    head(&mut html, document);
    for chapter in Chapter::ALL {
        let (title, about) = chapter.title();
        let anchor = anchor(title);
        add(&mut html, format_args!("<section class=\"group\" id=\"{anchor}\">\n<h2>{title}</h2>\n<p>{about}</p>\n"));
        for operation in operations().filter(|operation| operation.chapter == chapter) {
            route(&mut html, document, operation);
        }
        html.push_str("</section>\n");
    }
    errors(&mut html);
    shapes(&mut html, document);
    html.push_str("</main>\n</div>\n</body>\n</html>\n");
    html
}

fn side(html: &mut String) {
    add(html, format_args!("<div class=\"side\">\n<a class=\"brand\" href=\"#main\">{EYE}The Eye</a>\n"));
    html.push_str("<nav aria-label=\"Routes\">\n");
    for chapter in Chapter::ALL {
        let title = chapter.title().0;
        add(html, format_args!("<section><h2><a href=\"#{}\">{title}</a></h2>\n<ul>\n", anchor(title)));
        for operation in operations().filter(|operation| operation.chapter == chapter) {
            let (id, verb, path) = (operation_id(operation), verb(operation.method), operation.path);
            add(html, format_args!("<li><a href=\"#{id}\">{verb} <span class=\"path\">{path}</span></a></li>\n"));
        }
        html.push_str("</ul></section>\n");
    }
    html.push_str(
        "<section><h2><a href=\"#errors\">Errors</a></h2></section>\n\
         <section><h2><a href=\"#shapes\">Shapes</a></h2></section>\n\
         <section><h2><a href=\"/openapi.json\">openapi.json</a></h2></section>\n</nav>\n</div>\n",
    );
}

fn head(html: &mut String, document: &Value) {
    let info = &document["info"];
    add(html, format_args!("<header>\n<h1>API</h1>\n<p class=\"lead\">{}</p>\n", escape(text(&info["description"]))));
    add(
        html,
        format_args!(
            "<p class=\"meta\">Version {} · OpenAPI {} · ",
            text(&info["version"]),
            text(&document["openapi"])
        ),
    );
    html.push_str(
        "<a href=\"/openapi.json\">machine-readable</a></p>\n</header>\n\
         <p>Send <code>Authorization: Token …</code> or <code>Authorization: Bearer …</code>. Tokens are never accepted \
         in an address. JSON is snake_case; times are RFC 3339 in UTC with microseconds.</p>\n",
    );
    add(html, format_args!("<pre tabindex=\"0\"><code>{}</code></pre>\n", escape(START)));
}

fn route(html: &mut String, document: &Value, operation: &Operation) {
    let described = &document["paths"][operation.path][operation.method.to_lowercase()];
    let id = operation_id(operation);
    add(html, format_args!("<article class=\"route\" id=\"{id}\">\n<h3>{} ", verb(operation.method)));
    add(html, format_args!("<a class=\"path\" href=\"#{id}\">{}</a>", operation.path));
    match operation.scope {
        Some(scope) => add(html, format_args!("<span class=\"scope\">needs {scope}</span></h3>\n")),
        None => html.push_str("<span class=\"scope\">no token</span></h3>\n"),
    }
    add(html, format_args!("<p><strong>{}.</strong> ", escape(operation.summary.trim_end_matches('?'))));
    add(html, format_args!("{}</p>\n", escape(text(&described["description"]))));
    parameters(html, described);
    body(html, described);
    responses(html, described);
    html.push_str("</article>\n");
}

fn parameters(html: &mut String, described: &Value) {
    let Some(parameters) = described["parameters"].as_array().filter(|parameters| !parameters.is_empty()) else {
        return;
    };
    html.push_str("<h4>Parameters</h4>\n<div class=\"scroll\"><table class=\"fields\">\n");
    for parameter in parameters {
        let place = match text(&parameter["in"]) {
            "query" => "",
            place => place,
        };
        let is_required = parameter["required"] == true;
        row(
            html,
            (text(&parameter["name"]), is_required),
            &parameter["schema"],
            (place, text(&parameter["description"])),
        );
    }
    html.push_str("</table></div>\n");
}

fn body(html: &mut String, described: &Value) {
    let Some(content) = described["requestBody"]["content"].as_object() else {
        return;
    };
    html.push_str("<h4>Body</h4>\n");
    let media: Vec<_> = content.keys().map(|media| format!("<code>{media}</code>")).collect();
    add(html, format_args!("<p>{}", media.join(" or ")));
    let Some(schema) = content.values().next().map(|content| &content["schema"]) else {
        html.push_str("</p>\n");
        return;
    };
    if schema["properties"].is_object() {
        html.push_str("</p>\n");
        fields(html, schema);
    } else {
        let named: BTreeSet<_> = references(schema).into_iter().collect();
        let links: Vec<_> = named.iter().map(|name| link(name)).collect();
        add(html, format_args!(": {}</p>\n", links.join(", ")));
    }
}

fn responses(html: &mut String, described: &Value) {
    let Some(responses) = described["responses"].as_object() else {
        return;
    };
    let (good, bad): (Vec<_>, Vec<_>) = responses.iter().partition(|(status, _)| status.starts_with('2'));
    html.push_str("<h4>Answer</h4>\n");
    for (status, response) in good {
        add(html, format_args!("<p><code>{status}</code> {}", escape(text(&response["description"]))));
        for (media, content) in response["content"].as_object().into_iter().flatten() {
            let shapes: Vec<_> = references(&content["schema"]).into_iter().map(link).collect();
            match shapes.is_empty() {
                true => add(html, format_args!(" <span class=\"kind\">{media}</span>")),
                false => add(html, format_args!(" <span class=\"kind\">{}</span>", shapes.join(", "))),
            }
        }
        html.push_str("</p>\n");
    }
    if bad.is_empty() {
        return;
    }
    html.push_str("<details><summary>Errors</summary>\n<div class=\"scroll\"><table>\n");
    for (status, response) in bad {
        let codes = text(&response["description"]).split("; ").filter_map(|line| line.split_once(": "));
        let codes: Vec<_> = codes.map(|(code, _)| format!("<a href=\"#{code}\"><code>{code}</code></a>")).collect();
        add(html, format_args!("<tr><td>{status}</td><td>{}</td></tr>\n", codes.join(" ")));
    }
    html.push_str("</table></div></details>\n");
}

fn errors(html: &mut String) {
    html.push_str(
        "<section class=\"group\" id=\"errors\">\n<h2>Errors</h2>\n<p>Problem documents (RFC 9457). The code is stable: \
         programs may rely on it. The detail says what to do. Statuses 429, 503 and 507 come with Retry-After, and \
         nothing was acknowledged.</p>\n<div class=\"route\"><div class=\"scroll\"><table>\n\
         <tr><th scope=\"col\">code</th><th scope=\"col\">status</th><th scope=\"col\">meaning</th></tr>\n",
    );
    for code in Code::ALL {
        let (status, name, title) = code.row();
        add(
            html,
            format_args!("<tr id=\"{name}\"><td><code>{name}</code></td><td>{status}</td><td>{title}</td></tr>\n"),
        );
    }
    html.push_str("</table></div></div>\n</section>\n");
}

fn shapes(html: &mut String, document: &Value) {
    html.push_str("<section class=\"group\" id=\"shapes\">\n<h2>Shapes</h2>\n<p>What is sent and answered.</p>\n");
    for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
        add(html, format_args!("<article class=\"route\" id=\"shape-{name}\">\n<h3 class=\"path\">{name}</h3>\n"));
        add(html, format_args!("<p>{}</p>\n", escape(text(&schema["description"]))));
        fields(html, schema);
        html.push_str("</article>\n");
    }
    html.push_str("</section>\n");
}

fn fields(html: &mut String, schema: &Value) {
    let Some(properties) = schema["properties"].as_object().filter(|properties| !properties.is_empty()) else {
        return;
    };
    let is_required =
        |name: &str| schema["required"].as_array().is_some_and(|required| required.iter().any(|one| one == name));
    html.push_str("<div class=\"scroll\"><table class=\"fields\">\n");
    for (name, property) in properties {
        row(html, (name, is_required(name)), property, ("", text(&property["description"])));
    }
    html.push_str("</table></div>\n");
}

/// One parameter or field: its name, what it may be, what it means.
fn row(html: &mut String, (name, is_required): (&str, bool), schema: &Value, (place, doc): (&str, &str)) {
    add(html, format_args!("<tr><td><code>{name}</code>"));
    if is_required {
        html.push_str(" <span class=\"must\">required</span>");
    }
    if !place.is_empty() {
        add(html, format_args!(" <span class=\"kind\">{place}</span>"));
    }
    add(html, format_args!("</td><td class=\"kind\">{}</td><td>{}</td></tr>\n", kind(schema), escape(doc)));
}

/// What a value may be, in a few words.
fn kind(schema: &Value) -> String {
    if let Some(name) = reference(schema) {
        return link(name);
    }
    if let Some(words) = schema["enum"].as_array() {
        let default = text(&schema["default"]);
        let word = |word: &Value| match text(word) {
            word if word == default => format!("<code>{}</code> (default)", escape(word)),
            word => format!("<code>{}</code>", escape(word)),
        };
        // A long list is a table of its own.
        return if words.len() > 8 { "text".to_owned() } else { words.iter().map(word).collect::<Vec<_>>().join(" ") };
    }
    for key in ["oneOf", "anyOf", "allOf"] {
        if let Some(parts) = schema[key].as_array() {
            return parts.iter().map(kind).collect::<Vec<_>>().join(" or ");
        }
    }
    let types: Vec<_> = match &schema["type"] {
        Value::Array(types) => types.iter().map(text).collect(),
        one => vec![text(one)],
    };
    types.into_iter().map(|one| plain_kind(one, schema)).collect::<Vec<_>>().join(" or ")
}

fn plain_kind(one: &str, schema: &Value) -> String {
    match one {
        "array" => format!("list of {}", kind(&schema["items"])),
        "integer" if schema["maximum"].is_u64() => {
            let (min, max) = (&schema["minimum"], &schema["maximum"]);
            let bounds = if *max == u64::MAX { format!("{min} or more") } else { format!("{min} to {max}") };
            if schema["default"].is_null() { bounds } else { format!("{bounds}, default {}", schema["default"]) }
        }
        "integer" => "number".to_owned(),
        "boolean" => "true or false".to_owned(),
        "string" if schema["format"] == "date-time" || schema["format"] == "timestamp" => "time".to_owned(),
        "string" => "text".to_owned(),
        "" => "any JSON".to_owned(),
        other => escape(other),
    }
}

/// The names of all shapes that a schema refers to, without those inside them.
fn references(schema: &Value) -> Vec<&str> {
    match schema {
        Value::Object(members) => match reference(schema) {
            Some(name) => vec![name],
            None => members.values().flat_map(references).collect(),
        },
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

fn reference(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.rsplit('/').next()
}

fn link(name: &str) -> String {
    format!("<a href=\"#shape-{name}\">{name}</a>")
}

fn verb(method: &str) -> String {
    format!("<span class=\"verb {}\">{method}</span>", method.to_lowercase())
}

fn anchor(title: &str) -> String {
    title.to_lowercase().replace(' ', "-")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Text fit to stand in HTML. What stands in back quotes becomes code.
fn escape(text: &str) -> String {
    let mut html = String::with_capacity(text.len() + 16);
    let mut is_code = false;
    for char in text.chars() {
        match char {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '`' => {
                html.push_str(if is_code { "</code>" } else { "<code>" });
                is_code = !is_code;
            }
            other => html.push(other),
        }
    }
    html
}

fn add(html: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String never fails.
    let _ = html.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_every_route_and_every_link_leads_somewhere() {
        let html = page(&crate::openapi::document());
        for operation in operations() {
            assert!(html.contains(&format!("<article class=\"route\" id=\"{}\"", operation_id(operation))));
        }
        for code in Code::ALL {
            assert!(html.contains(&format!("id=\"{}\"", code.code())), "the type of a problem leads here");
        }
        for target in html.split("href=\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(html.contains(&format!("id=\"{target}\"")), "#{target}");
        }
    }

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(escape("<b>&\"`a`"), "&lt;b&gt;&amp;&quot;<code>a</code>");
    }
}
