// Text fields that follow what is kept: words of another tab come in, and what somebody types here stays.
const seen = new Map(); // field -> {text, value}: what stood in it when `value` was kept, which may be written otherwise

/** Note what became of `text`, sent from this field. */
export function noteKept(field, text, value) {
  seen.set(field, { text, value });
}

/** Put in what is kept, unless somebody types here; true when other words came in. */
export function showKept(field, value) {
  const last = seen.get(field) ?? { text: "", value: "" };
  const typing = field === document.activeElement && (field.value !== last.text || value === last.value);
  if (typing) return false;
  const other = field.value !== value;
  if (other) field.value = value;
  noteKept(field, field.value, value);
  return other;
}
