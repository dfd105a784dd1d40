// Markup as templates: html`<p>${text}</p>`. Texts are escaped by preact; nothing here sets innerHTML.
import { h } from "preact";
import htm from "htm";
export const html = htm.bind(h);
