//! Reads the Markdown of the documents.

/// Returns the code blocks whose fence has exactly this info string, such as `sh`.
#[must_use]
pub fn fenced_blocks(text: &str, info: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<(bool, String)> = None;
    for line in text.lines() {
        let fence = line.trim_start().strip_prefix("```");
        open = match (open, fence) {
            (None, Some(opening)) => Some((opening.trim() == info, String::new())),
            (None, None) => None,
            (Some((wanted, block)), Some(_)) => {
                if wanted {
                    blocks.push(block);
                }
                None
            }
            (Some((wanted, mut block)), None) => {
                block.push_str(line);
                block.push('\n');
                Some((wanted, block))
            }
        };
    }
    blocks
}

/// Returns the text without code blocks and code spans, so that what looks like a link or a heading in code is not taken for one.
#[must_use]
pub fn without_code(text: &str) -> String {
    let mut inside = false;
    let mut kept = String::with_capacity(text.len());
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
        } else if !inside {
            let outside_of_spans = line.split('`').step_by(2);
            // The words of a heading's code spans are part of its anchor.
            if line.starts_with('#') {
                kept.push_str(&line.replace('`', ""));
            } else {
                kept.extend(outside_of_spans);
            }
            kept.push('\n');
        }
    }
    kept
}
