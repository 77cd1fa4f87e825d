// The image at full size, in a dialog.

export function openImage(frame, address) {
  const dialog = frame.$("review-zoom");
  dialog.querySelector("img").src = address;
  dialog.showModal();
}
