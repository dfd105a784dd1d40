import { html } from "../h.js";
export function Transfer() { return html`<div class="scroll">soon</div>`; }
