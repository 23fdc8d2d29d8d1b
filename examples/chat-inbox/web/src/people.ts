// What an address book would say; the tables of the example know numbers alone.

const PEOPLE = ["Ximena Robles", "Iñaki Etxeberria", "Guadalupe Ordóñez", "Martín Peña", "Lucía Fernández", "Tomás Aguirre"];

export function nameOf(conversation: number): string {
  return PEOPLE[conversation - 1] ?? `#${conversation}`;
}
