import { html } from "../h.js";
export function Program() { return html`<div class="scroll">soon</div>`; }
