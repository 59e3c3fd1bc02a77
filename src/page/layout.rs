//! What both pages have: where they are from, and how they find the script and the style.
//!
//! Every address is relative and on one level, so that a proxy may serve the page below any path.

use maud::{DOCTYPE, Markup, html};

use crate::version::VERSION;

/// One page.
pub(super) struct Page {
    /// Its name in the browser's tab, after that of the replica.
    pub(super) title: String,
    /// The replica that made it, and how warm it is.
    pub(super) replica: String,
    pub(super) warm: Option<String>,
    /// What is true of it: the script loads it again when the events say something else.
    pub(super) version: Option<String>,
    /// Where those events are.
    pub(super) events: String,
    pub(super) content: Markup,
}

impl Page {
    pub(super) fn render(self) -> String {
        let Self { title, replica, warm, version, events, content } = self;
        let events = version.as_ref().map(|_| events);
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (title) " · keda-sift" }
                    link rel="icon" href="icon.svg" type="image/svg+xml";
                    link rel="stylesheet" href="style.css";
                    script src="page.js" defer {}
                }
                body {
                    a.skip href="#content" { "Skip to the content" }
                    header {
                        a.home href="./" { "keda-sift" }
                        span { "replica " bdi title=(replica) { (replica) } }
                        @if let Some(warm) = warm { span id="warm" data-live { (warm) } }
                        span id="link" role="status" {}
                    }
                    main id="content" tabindex="-1" data-version=[version] data-events=[events] {
                        (content)
                    }
                    footer { "keda-sift " (VERSION) ". Times are in UTC." }
                }
            }
        };
        page.into_string()
    }
}
