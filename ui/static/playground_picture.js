// The image that is asked about: dropped, pasted, chosen from a file, or the workspace's own.

const MOST_BYTES = 25 * 2 ** 20; // the server refuses more
const THUMB = 96; // pixels

export class Picture {
  constructor(page, onChange) {
    Object.assign(this, { page, onChange });
    this.images = []; // addresses
    this.item = null; // the instruction that they are of
    this.id = "";
    this.sent = null; // an upload as it was sent, for an app that was started anew
    this.wire();
  }

  wire() {
    const [drop, root] = [this.page.$("drop"), this.page.root];
    this.page.$("file").onchange = (event) => {
      if (event.target.files.length) this.send(event.target.files[0]);
      event.target.value = ""; // the same file may be chosen again
    };
    root.addEventListener("dragover", (event) => {
      if (!event.dataTransfer.types.includes("Files")) return;
      event.preventDefault();
      drop.classList.add("over");
    });
    root.addEventListener("dragleave", (event) => !root.contains(event.relatedTarget) && drop.classList.remove("over"));
    root.addEventListener("drop", (event) => {
      drop.classList.remove("over");
      if (!event.dataTransfer.files.length) return;
      event.preventDefault();
      this.send(event.dataTransfer.files[0]);
    });
    document.addEventListener("paste", (event) => {
      const file = [...(event.clipboardData?.files || [])].find(({ type }) => type.startsWith("image/"));
      if (!file || !this.page.isShown) return;
      event.preventDefault();
      this.send(file);
    });
    this.page.$("item").addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.ctrlKey || event.metaKey || !event.target.value.trim()) return;
      this.take({ op: "item", id: event.target.value }).then((found) => {
        const question = this.page.$("question");
        if (found && (!question.value.trim() || this.page.$("own").checked)) question.value = found.question;
        this.onChange();
      });
    });
    this.page.$("clear").onclick = () => {
      this.show({ images: [], item: null, html: "", name: "" });
      this.onChange();
    };
  }

  async send(file) {
    if (file.size > MOST_BYTES) return this.page.say(`${file.name} has more than 25 MiB: scale it down.`);
    this.page.say("");
    const sent = { op: "upload", name: file.name || "pasted image", data: await readBase64(file) };
    if (await this.take(sent)) this.sent = sent;
    else this.show({ images: [], item: null, html: "", name: `${sent.name} could not be taken: choose another image.` });
    this.onChange();
  }

  // Whether the server has it again.
  async sendAgain() {
    return this.sent ? Boolean(await this.take(this.sent)) : false;
  }

  // What the server says of it, or null.
  async take(command) {
    const found = await this.page.call(command);
    if (found.error) {
      this.page.say(found.error);
      return null;
    }
    this.page.say("");
    this.show(found);
    return found;
  }

  show({ images, item, id = "", html, name }) {
    Object.assign(this, { images, item, id });
    this.page.age();
    if (id || !images.length) this.sent = null;
    this.page.$("picture").innerHTML = html;
    this.page.$("invite").hidden = Boolean(html);
    this.page.$("named").textContent = name || "";
    this.page.$("named").hidden = !name;
  }

  place() {
    return { item: this.id, image: this.id ? "" : this.images[0] || "" };
  }

  // Small enough to be kept in the browser beside twenty others.
  thumb() {
    const image = this.page.$("picture").querySelector("img");
    if (!image || !image.naturalWidth) return "";
    const scale = Math.min(1, THUMB / Math.max(image.naturalWidth, image.naturalHeight));
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, image.naturalWidth * scale);
    canvas.height = Math.max(1, image.naturalHeight * scale);
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    return canvas.toDataURL("image/jpeg", 0.8);
  }
}

function readBase64(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}
