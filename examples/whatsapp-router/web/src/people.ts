// The telephones that this page can play: people whom the demo's traffic knows, and one who has never written.

export interface Person {
  telefono: string;
  nombre: string;
}

export const PEOPLE: [Person, ...Person[]] = [
  { telefono: "5215500000001", nombre: "Ana" },
  { telefono: "5215500000002", nombre: "Beto" },
  { telefono: "5215500000003", nombre: "Caro" },
  { telefono: "5215500000009", nombre: "Dora" },
];
