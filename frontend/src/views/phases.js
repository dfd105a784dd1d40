import { html } from "../h.js";
export function Phases() { return html`<div class="scroll">soon</div>`; }
