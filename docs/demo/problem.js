/** What a user can understand and mend; its message is one plain line for the page. */
export class Problem extends Error {}

/** Return the message of an error on one line of bearable length. */
export function oneLine(error) {
  const text = String(error?.message ?? error).replace(/\s+/g, " ");
  return text.length > 300 ? `${text.slice(0, 300)}...` : text;
}
