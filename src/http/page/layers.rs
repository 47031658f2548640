//! The layers of an image with the commands that made them, and what its containers are started with.

use maud::{Markup, html};

use super::{format, text};
use crate::registry::{ImageConfiguration, Layer};

/// How many steps of a build, and how many variables, are shown.
const STEPS: usize = 300;
const VARIABLES: usize = 100;

/// A step of the build, the layer that it made, or both.
struct Row<'a> {
    command: Option<&'a str>,
    layer: Option<&'a Layer>,
}

/// Puts commands and layers together. Where a history does not fit the layers, these come without commands.
fn rows<'a>(configuration: Option<&'a ImageConfiguration>, layers: &'a [Layer], more: usize) -> Vec<Row<'a>> {
    let history = configuration.and_then(|it| it.history.as_deref()).unwrap_or_default();
    let makes_layer = |step: &&crate::registry::BuildStep| step.empty_layer != Some(true);
    if history.iter().filter(makes_layer).count() != layers.len() + more {
        return layers.iter().map(|layer| Row { command: None, layer: Some(layer) }).collect();
    }
    let mut left = layers.iter();
    let row = |step: &'a crate::registry::BuildStep| {
        let layer = if makes_layer(&step) { left.next() } else { None };
        Row { command: step.created_by.as_deref(), layer }
    };
    history.iter().map(row).take(STEPS).collect()
}

/// The command as its author wrote it: builders put a shell before it, and make one line of several.
fn command(text: &str) -> String {
    let text = text.trim();
    let text = text.strip_prefix("/bin/sh -c #(nop)").map_or(text, str::trim);
    let text = text.strip_suffix("# buildkit").unwrap_or(text).trim();
    if text.contains('\n') {
        return text.to_owned();
    }
    let lines = text.replace('\t', "    ");
    let lines = lines.split("    ").map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("\n  ")
}

pub(super) fn layers(configuration: Option<&ImageConfiguration>, layers: &[Layer], more: usize) -> Markup {
    let rows = rows(configuration, layers, more);
    let has_commands = rows.iter().any(|row| row.command.is_some());
    html! {
        section aria-labelledby="layers" {
            h2 #layers { "Layers" }
            @if rows.is_empty() { p.muted { "It has none." } } @else {
                table.list.layers {
                    thead {
                        tr {
                            th scope="col" { "Step" }
                            th scope="col" { @if has_commands { "Command" } @else { "Media type" } }
                            th.end scope="col" { "Size" }
                            th scope="col" { "Digest" }
                        }
                    }
                    tbody {
                        @for (index, row) in rows.iter().enumerate() {
                            tr.dim[row.layer.is_none()] {
                                th.num scope="row" { (index + 1) }
                                td.built data-label="Command" {
                                    @match (row.command, row.layer) {
                                        (Some(built), _) => code { (text::text(&command(built))) },
                                        (None, Some(layer)) => (layer.media_type.as_str()),
                                        (None, None) => "–",
                                    }
                                }
                                td.end.num data-label="Size" {
                                    @if let Some(layer) = row.layer { (format::bytes(layer.size)) }
                                }
                                td data-label="Digest" { @if let Some(layer) = row.layer { (text::digest(&layer.digest)) } }
                            }
                        }
                    }
                }
                @if more > 0 { p.muted { "And " (format::count(more as u64)) " more layers." } }
            }
        }
    }
}

pub(super) fn configuration(read: &Result<ImageConfiguration, String>) -> Markup {
    let content = match read {
        Err(cause) => html! { p.muted { "The configuration is not shown: " (cause) "." } },
        Ok(ImageConfiguration { config: None, .. }) => return html! {},
        Ok(ImageConfiguration { config: Some(config), .. }) => {
            let words = |words: &Option<Vec<String>>| {
                let words = words.as_deref().unwrap_or_default();
                words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
            };
            let ports = config.exposed_ports.iter().flat_map(|ports| ports.keys());
            let ports = ports.take(VARIABLES).cloned().collect::<Vec<_>>().join(", ");
            let rows = [
                ("Entrypoint", words(&config.entrypoint)),
                ("Command", words(&config.cmd)),
                ("Directory", config.working_dir.clone().unwrap_or_default()),
                ("User", config.user.clone().unwrap_or_default()),
                ("Ports", ports),
            ];
            let variables = config.env.as_deref().unwrap_or_default();
            html! {
                dl.pairs {
                    @for (title, value) in rows.iter().filter(|(_, value)| !value.is_empty()) {
                        div { dt { (title) } dd { code { (text::text(value)) } } }
                    }
                    @for variable in variables.iter().take(VARIABLES) {
                        @let (key, value) = variable.split_once('=').unwrap_or((variable, ""));
                        div { dt { code { (text::text(key)) } } dd { code { (text::text(value)) } } }
                    }
                }
                @if variables.len() > VARIABLES { p.muted { "And " (variables.len() - VARIABLES) " more variables." } }
            }
        }
    };
    html! {
        section aria-labelledby="configuration" {
            h2 #configuration { "Configuration" }
            (content)
        }
    }
}

fn quoted(word: &str) -> String {
    let is_plain = !word.is_empty() && !word.contains(|c: char| c.is_whitespace() || "\"'\\$".contains(c));
    if is_plain { word.to_owned() } else { format!("{word:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_as_their_authors_wrote_them() {
        for (text, shown) in [
            ("/bin/sh -c #(nop)  CMD [\"sh\"]", "CMD [\"sh\"]"),
            ("RUN /bin/sh -c a     && b \t\t && c # buildkit", "RUN /bin/sh -c a\n  && b\n  && c"),
            ("RUN <<EOF\na    b\nEOF # buildkit", "RUN <<EOF\na    b\nEOF"),
            ("", ""),
        ] {
            assert_eq!(command(text), shown, "{text}");
        }
    }

    #[test]
    fn a_history_that_does_not_fit_the_layers_is_left_out() {
        let digest = crate::oci::Digest::of(crate::oci::Algorithm::Sha256, b"");
        let layer = Layer { digest, media_type: crate::oci::MediaType::OCTET_STREAM, size: 1 };
        let of = |history: &str| -> ImageConfiguration { serde_json::from_str(history).unwrap() };
        let fits = of(r#"{"history":[{"created_by":"a"},{"created_by":"b","empty_layer":true},{}]}"#);
        let layers = [layer.clone(), layer];
        let shown = |configuration: &ImageConfiguration| {
            let rows = rows(Some(configuration), &layers, 0);
            rows.iter().map(|row| (row.command.is_some(), row.layer.is_some())).collect::<Vec<_>>()
        };
        assert_eq!(shown(&fits), [(true, true), (true, false), (false, true)]);
        assert_eq!(shown(&of(r#"{"history":[{"created_by":"a"}]}"#)), [(false, true); 2]);
        assert_eq!(shown(&of("{}")), [(false, true); 2]);
    }
}
