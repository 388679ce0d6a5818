// Under a review: what the report makes of the verdicts so far, and what can be done with them.
import { $, api, confirmed, h, plural, toast, trying, whole } from "/static/js/core.js";
import { quiet } from "/static/js/parts.js";

const PARTS = [
  ["better", "better"],
  ["same", "the same"],
  ["worse", "worse"],
];

/** Draw what the report says of the verdicts; `at` is the API's address of the review. */
export function drawSummary(reviews, at) {
  $("so-far").hidden = !reviews;
  if (!reviews) return;
  const counts = h(
    "ul",
    { className: "counts" },
    PARTS.map(([id, word]) => h("li", { className: id }, h("b", {}, whole(reviews[id])), ` ${word}`)),
  );
  const acts = `${whole(reviews.kept)} kept, ${whole(reviews.fixed)} fixed, ${whole(reviews.rejected)} rejected`;
  const agreed =
    reviews.agreement &&
    ` · ${plural(reviews.reviewers, "reviewer")}, who agree on ${Math.round(100 * reviews.agreement.equal)} % of the shared ones`;
  const rows = [h("p", { className: "muted" }, `${plural(reviews.verdicts, "verdict")}: `, acts, agreed)];
  for (const step of reviews.rejected_checkpoints)
    rows.push(
      h(
        "p",
        { className: "rejected" },
        `Checkpoint ${whole(step)} is rejected. `,
        quiet("Take it back in", () => takeBack(step, at)),
      ),
    );
  if (reviews.fixed)
    rows.push(
      h(
        "p",
        {},
        h(
          "button",
          { type: "button", className: "plain", onclick: (event) => writeFixed(event.target, at) },
          `Make training rows of ${plural(reviews.fixed, "fixed answer")}`,
        ),
      ),
    );
  $("summary").replaceChildren(bar(reviews), counts, ...rows);
}

async function writeFixed(button, at) {
  const made = await trying(() => api(`${at}/export`, { method: "POST" }), button);
  if (made) toast(made.said || `Wrote ${made.file}.`);
}

function bar(reviews) {
  const made = h("div", {
    className: "verdicts",
    role: "img",
    "aria-label": PARTS.map(([id, word]) => `${reviews[id]} ${word}`).join(", "),
  });
  for (const [id] of PARTS) {
    const piece = made.appendChild(h("i", { className: id }));
    piece.style.flexGrow = reviews[id];
    piece.hidden = !reviews[id];
  }
  return made;
}

export async function rejectCheckpoint(step, at) {
  const sure = await confirmed(
    `Reject checkpoint ${whole(step)}?`,
    "The report names it as rejected. Its files stay, and it can be taken back in.",
    "Reject it",
  );
  if (!sure) return;
  const told = await trying(() => api(`${at}/checkpoint`, { method: "POST", body: { step } }));
  if (told) drawSummary(told.reviews, at);
}

async function takeBack(step, at) {
  const told = await trying(() => api(`${at}/checkpoint`, { method: "POST", body: { step, rejected: false } }));
  if (told) drawSummary(told.reviews, at);
}
