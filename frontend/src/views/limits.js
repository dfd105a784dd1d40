import { html } from "../h.js";
export function Limits() { return html`<div class="scroll">soon</div>`; }
