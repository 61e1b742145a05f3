// Short names for the generated wire types. Nothing here is written by hand but the names.
import type { components } from './schema';

type Schemas = components['schemas'];
export type ApiKey = Schemas['ApiKey'];
export type AuditItem = Schemas['AuditItem'];
export type AuthConfig = Schemas['AuthConfig'];
export type AuthResponse = Schemas['AuthResponse'];
export type CreateSandbox = Schemas['CreateSandbox'];
export type ErrorCode = Schemas['ErrorCode'];
export type ErrorInfo = Schemas['ErrorInfo'];
export type Me = Schemas['Me'];
export type Member = Schemas['Member'];
export type Process = Schemas['Process'];
export type Role = Schemas['Role'];
export type Sandbox = Schemas['Sandbox'];
export type SandboxStatus = Schemas['SandboxStatus'];
export type Session = Schemas['Session'];
export type Team = Schemas['Team'];
export type Template = Schemas['Template'];
